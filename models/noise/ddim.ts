import type { SamplerPlan } from "./sampler.ts";
import type { NoiseSchedule } from "./schedule.ts";

/** Timesteps are shifted by one, as Stable Diffusion v1.5 is sampled. */
const stepsOffset = 1;

/**
 * Plans DDIM with eta 0: timesteps in equal strides, ᾱ after the last step 1.
 *
 * From the model's output the clean latents z and the noise ε are estimated, then mixed again at the earlier timestep p:
 * `x' = √ᾱₚ·z + √(1−ᾱₚ)·ε`, where
 *
 *     noise predicted:     z = (x − √(1−ᾱ)·f) / √ᾱ      ε = f
 *     velocity predicted:  z = √ᾱ·x − √(1−ᾱ)·f          ε = √(1−ᾱ)·x + √ᾱ·f
 *
 * @param steps Whole number, 1 to `trainTimesteps − 1`.
 * @see Song et al. 2020, https://arxiv.org/abs/2010.02502
 */
export function planDdim(schedule: NoiseSchedule, steps: number): Omit<SamplerPlan, "sampler"> {
  const stride = Math.floor(schedule.trainTimesteps / steps);
  const planned = Array.from({ length: steps }, (_, index) => {
    const timestep = (steps - 1 - index) * stride + stepsOffset;
    const signal = Math.sqrt(schedule.alphasCumprod[timestep]);
    const sigma = Math.sqrt(1 - schedule.alphasCumprod[timestep]);
    const alphaAfter = timestep >= stride ? schedule.alphasCumprod[timestep - stride] : 1;
    const signalAfter = Math.sqrt(alphaAfter);
    const sigmaAfter = Math.sqrt(1 - alphaAfter);
    const update = schedule.predictionType === "epsilon"
      ? { latents: signalAfter / signal, modelOutput: sigmaAfter - signalAfter * sigma / signal }
      : {
        latents: signalAfter * signal + sigmaAfter * sigma,
        modelOutput: sigmaAfter * signal - signalAfter * sigma,
      };
    return { timestep, inputScale: 1, ...update, noise: 0 };
  });
  return { initNoiseSigma: 1, steps: planned };
}
