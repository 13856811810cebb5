import {
  add,
  type FloatFormat,
  input,
  multiply,
  randomNormal,
  reshape,
  scale,
  storingActivations,
  subtract,
  type Tensor,
} from "../engine/mod.ts";
import type { Part } from "../lora/network.ts";
import { weighStates } from "../models/clip/weigh_states.ts";
import type { Adapters } from "../models/source.ts";
import { type LossOptions, sampleLoss } from "./loss.ts";
import { addMultiresNoise } from "./multires_noise.ts";

/** A base model as a step needs it: graph builders that add a network's deltas to its layers. */
export interface TrainableBase {
  /** Ids `[batch · rows, 77]` to what cross-attention reads, `[batch, tokens, channels]`. */
  encode(ids: Tensor, options: { adapters: Adapters; rows: number }): Tensor;
  /** Noise (or velocity) prediction `[batch, height, width, 4]`. */
  denoise(sample: Tensor, timesteps: Tensor, context: Tensor, options: { adapters: Adapters }): Tensor;
  /** 0.18215 for Stable Diffusion v1.5: latents are multiplied by it. */
  readonly latentScale: number;
}

/** Sizes of one network's batch: a step is compiled for each. */
export interface BatchShape {
  readonly batch: number;
  /** Latent cells: an eighth of the picture. */
  readonly height: number;
  readonly width: number;
  /** Rows of 77 tokens a prompt takes: 1, 2 or 3. */
  readonly tokenRows: number;
  /** Whether tokens have weights, see `weighStates`. */
  readonly hasTokenWeights?: boolean;
  /** Width of a token's states where they are fed as `context_<k>`; left out where the step's text encoder makes them of `ids_<k>`. */
  readonly contextSize?: number;
}

/** What a batch's loss is traced from. */
export interface DenoisingRequest {
  /** 1 or 2: inputs carry it in their names. */
  readonly number: 1 | 2;
  readonly base: TrainableBase;
  readonly shape: BatchShape;
  readonly loss: LossOptions;
  /** Noise comes with the batch, or is drawn on the device from `noise_key_<k>`. */
  readonly noise: "fed" | "drawn";
  readonly vParameterization: boolean;
  /** What the models' activations are stored in; f32 when left out. */
  readonly activations?: FloatFormat;
  /** What networks add to the layers of each part. */
  adapters(part: Part): Adapters;
}

/** A batch with noise in it, and its prompts: what any number of predictions are traced from. */
export interface NoisyBatch {
  /** √ᾱ · latents + √(1 − ᾱ) · noise, `[batch, height, width, 4]`. */
  readonly noisy: Tensor;
  /** What a prediction is compared with: the noise, or the velocity; of `noisy`'s shape. */
  readonly target: Tensor;
  /** `[batch]` */
  readonly timesteps: Tensor;
  /** Threshold of a Huber loss, `[batch]`; null with other losses. */
  readonly threshold: Tensor | null;
  /** Token ids, i32 `[batch · rows, 77]`; null where `context` is fed. */
  readonly ids: Tensor | null;
  /** What a text encoder made of the prompts, `[batch, 75 · rows + 2, contextSize]`; null where it is traced. */
  readonly context: Tensor | null;
  /** `[batch, 75 · rows + 2]`; null where tokens have no weights. */
  readonly tokenWeights: Tensor | null;
}

/** Traces a batch's latents with noise, and its prompts; its inputs are those of `traceDenoising`. */
export function traceNoisyBatch(
  { number: k, base, shape, loss, noise: source, vParameterization }: Omit<
    DenoisingRequest,
    "adapters"
  >,
): NoisyBatch {
  const { batch, height, width, tokenRows, hasTokenWeights = false, contextSize } = shape;
  const picture = [batch, height, width, 4], states = [batch, 75 * tokenRows + 2];
  const latents = scale(input(`latents_${k}`, picture), { factor: base.latentScale });
  const drawn = (name: string, shape: readonly number[]) =>
    source === "fed" ? input(`${name}_${k}`, shape) : randomNormal(input(`${name}_key_${k}`, [4], "u32"), { shape });
  const cells = drawn("noise", picture), { type: lossType = "l2" } = loss;
  const { noiseOffset = 0, multiresNoiseIterations: iterations = 0, multiresNoiseDiscount: discount = 0.3 } = loss;
  const noise = iterations > 0
    ? addMultiresNoise(cells, { number: k, iterations, discount, drawn })
    : noiseOffset === 0
    ? cells
    : add(cells, scale(drawn("offset", [batch, 1, 1, 4]), { factor: noiseOffset }));
  const perSample = (name: string) => input(`${name}_${k}`, [batch]);
  const signal = reshape(perSample("signal"), [batch, 1, 1, 1]), sigma = reshape(perSample("sigma"), [batch, 1, 1, 1]);
  return {
    noisy: add(multiply(signal, latents), multiply(sigma, noise)),
    target: vParameterization ? subtract(multiply(signal, noise), multiply(sigma, latents)) : noise,
    timesteps: perSample("timesteps"),
    threshold: lossType === "huber" || lossType === "smooth_l1" ? perSample("huber") : null,
    ids: contextSize === undefined ? input(`ids_${k}`, [batch * tokenRows, 77], "i32") : null,
    context: contextSize === undefined ? null : input(`context_${k}`, [...states, contextSize]),
    tokenWeights: hasTokenWeights ? input(`token_weights_${k}`, states) : null,
  };
}

/** Traces what a base with its networks predicts for a noisy batch, `[batch, height, width, 4]`. */
export function tracePrediction(
  { base, shape, adapters, activations = "f32" }: Pick<DenoisingRequest, "base" | "shape" | "adapters" | "activations">,
  { noisy, timesteps, ids, context: fed, tokenWeights }: NoisyBatch,
): Tensor {
  const stored = <T>(trace: () => T) => storingActivations(activations, trace);
  const states = fed ??
    stored(() => base.encode(ids!, { adapters: adapters("text_encoder"), rows: shape.tokenRows }));
  const context = tokenWeights ? weighStates(states, tokenWeights) : states;
  return stored(() => base.denoise(noisy, timesteps, context, { adapters: adapters("unet") }));
}

/**
 * Traces how well a base with its networks denoises a batch: `sampleLoss` of each sample, `[batch]`.
 *
 * Inputs, for network k: `latents_<k>`, `noise_<k>` or `noise_key_<k>`, `ids_<k>` or `context_<k>`, `timesteps_<k>`, `signal_<k>`, `sigma_<k>`;
 * `token_weights_<k>` where tokens have weights, `offset_<k>` or `offset_key_<k>` with a noise offset, `huber_<k>` with a Huber loss; see `traceStep`.
 * With noise of several resolutions `multires_<i>_<k>` or `multires_<i>_key_<k>` and `multires_<i>_size_<k>` for each level i; see `addMultiresNoise`.
 */
export function traceDenoising(request: DenoisingRequest): Tensor {
  const batch = traceNoisyBatch(request), prediction = tracePrediction(request, batch);
  return sampleLoss(prediction, batch.target, request.loss.type ?? "l2", batch.threshold);
}
