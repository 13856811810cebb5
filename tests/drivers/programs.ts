import { dualStepProgram } from "../../bench/dual_step.ts";
import { openBase } from "../../bench/bases.ts";
import { guaranteedBindingBytes, guaranteedBufferBytes } from "../../engine/graph/tensor.ts";
import type { FloatFormat, Program } from "../../engine/mod.ts";
import type { BaseModel } from "../../models/base_model.ts";
import { planSampling } from "../../models/sampling.ts";
import { planDecoding } from "../../models/vae/decoding.ts";
import { planEncoding } from "../../models/vae/encoding.ts";
import { buildVae } from "../../models/vae_model.ts";
import { openStableDiffusion } from "../../tools/memory/stable_diffusion.ts";

/** What every adapter can hold. */
const smallestLimits = {
  name: "the smallest adapter",
  maxBindingBytes: guaranteedBindingBytes,
  maxBufferBytes: guaranteedBufferBytes,
};

/** Programs whose kernels must compile wherever there is a GPU, by what they do; planned without one. */
export async function plannedPrograms(): Promise<Map<string, readonly Program[]>> {
  const programs = new Map<string, readonly Program[]>();
  for (const base of ["toy", "sd15"] as const) {
    const pixels = base === "toy" ? 128 : 512, rank = base === "toy" ? 16 : 64;
    for (const precision of ["f32", "f16"] as const) {
      const what = `${base} at ${pixels} pixels in ${precision}`;
      for (const mode of ["both", "frozen"] as const) {
        const step = { base, pixels, rank, batches: [1, 1], mode, precision } as const;
        programs.set(`a dual step of ${what}, ${mode}`, [await dualStepProgram(step)]);
      }
      programs.set(`pictures of ${what}`, picturePrograms(await openWhole(base, precision), pixels));
    }
  }
  return programs;
}

/** A base with its VAE. */
async function openWhole(base: "toy" | "sd15", precision: FloatFormat): Promise<BaseModel> {
  return base === "toy" ? await openBase(base, precision) : await openStableDiffusion({ precision });
}

/** Encodes, samples and decodes a picture. */
function picturePrograms(base: BaseModel, pixels: number): Program[] {
  const cells = pixels / 8, size = { width: cells, height: cells };
  const sampling = {
    sampler: "ddim",
    steps: 20,
    guidance: 7.5,
    ...size,
    batch: 1,
    adapters: [],
    tokenRows: 1,
  } as const;
  const { encode, start, step } = planSampling(base, sampling), { model } = buildVae(base.checkpoint);
  return [
    encode,
    start,
    step,
    planEncoding(model, { width: pixels, height: pixels }, { limits: smallestLimits }).program,
    planDecoding(model, size, { batch: 1, limits: smallestLimits }).program,
  ];
}
