import {
  accumulate,
  type AdamWAttributes,
  adamwStep,
  add,
  clipFactor,
  dependsOn,
  elementCount,
  fill,
  gradients,
  input,
  mean,
  multiply,
  pack,
  randomNormal,
  reshape,
  scale,
  scoped,
  slice,
  square,
  subtract,
  sum,
  type Tensor,
  Variable,
  window,
} from "../engine/mod.ts";
import type { LoraNetwork } from "../lora/network.ts";
import {
  hooks,
  textDivergence,
  type TextMask,
  textOrthogonality,
  unetDivergence,
  unetOrthogonality,
} from "../lora/orthogonality.ts";
import type { Adapters } from "../models/source.ts";

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
}

/** One network in a step. */
export interface StepNetwork {
  /** 1 or 2: inputs and figures carry it in their names. */
  readonly number: 1 | 2;
  readonly base: TrainableBase;
  readonly lora: LoraNetwork;
  readonly optimizer: AdamWState;
  readonly shape: BatchShape;
  /** A network that does not train only lends its hidden layers. */
  readonly trains: boolean;
}

/** Which gradient reaches which network. */
export type StepForm =
  /** Each network descends its own loss once; clipping comes last. */
  | "clean"
  /** Two backward passes that both write into both networks, network 1 clipped between them. */
  | "original";

/** The coupling of two networks in a step. */
export interface OrthogonalityOptions {
  /** Off: the terms are measured, and reach no loss. */
  readonly on: boolean;
  readonly textCoefficient: number;
  readonly unetCoefficient: number;
  readonly textMask: TextMask;
}

/** Everything else that shapes the graph. */
export interface StepOptions {
  readonly form: StepForm;
  readonly orthogonality: OrthogonalityOptions;
  readonly vParameterization: boolean;
  /** 0: no clipping. */
  readonly maxGradNorm: number;
  /** Micro-batches per step, and whether this graph is the last one of a step. */
  readonly accumulation: { readonly count: number; readonly isLast: boolean };
  /** Noise comes with the batch, or is drawn on the device from `noise_key_<k>`. */
  readonly noise: "fed" | "drawn";
  readonly optimizer: AdamWAttributes;
  /** Also computes the loss of a network that does not train. */
  readonly allFigures: boolean;
  /** Computes the blocks' insides again for the gradients, instead of keeping them: less memory, more time, the same bits. */
  readonly gradientCheckpointing: boolean;
}

/** AdamW's moments of one network, and gradients kept between micro-batches; zero-filled when the device first uses them. */
export class AdamWState {
  readonly firstMoment: Variable;
  readonly secondMoment: Variable;
  readonly gradient: Variable;

  constructor(lora: LoraNetwork) {
    const { shape, name } = lora.weights;
    this.firstMoment = new Variable(`${name} first moment`, { shape, dtype: "f32" });
    this.secondMoment = new Variable(`${name} second moment`, { shape, dtype: "f32" });
    this.gradient = new Variable(`${name} accumulated gradient`, { shape, dtype: "f32" });
  }
}

/** A traced step: what to run it for, and what can be read from it. */
export interface StepGraph {
  readonly effects: readonly Tensor[];
  /** Losses, terms and norms by the names that logs use: scalars, and `mse_<k>` `[batch]`. */
  readonly figures: Readonly<Record<string, Tensor>>;
  /** What each training network's optimizer gets, flat; empty before the last micro-batch. */
  readonly gradients: Readonly<Record<string, Tensor>>;
}

interface Pass {
  readonly mse: Tensor;
  readonly textHidden: Tensor | null;
  readonly unetHidden: Tensor | null;
  /** `[batch]`: the samples' loss weights w. */
  readonly weights: Tensor;
  /** `[]`: mean of w · s · MSE. */
  readonly loss: Tensor;
}

/**
 * Traces one training step of one network, or of two that see the same timesteps and constrain each other.
 *
 * `loss_k = mean(w_k · s_k · MSE_k) + mean(w_k) · P` with `P = λ_te · O_te + λ_unet · O_unet` while orthogonality is on.
 *
 * Inputs, for network k = 1, 2: `latents_<k>` `[batch, height, width, 4]` as the VAE gives them, `noise_<k>` of that shape (or `noise_key_<k>` u32 [4]),
 * `ids_<k>` i32 `[batch · rows, 77]`, `timesteps_<k>`, `signal_<k>` √ᾱ, `sigma_<k>` √(1 − ᾱ), `loss_weights_<k>` w and `mse_weights_<k>` w · s, each `[batch]`;
 * `rate_<k>` `[3]`, see `adamwStep`, on the last micro-batch of a network that trains.
 */
export function traceStep(networks: readonly StepNetwork[], options: StepOptions): StepGraph {
  const passes = networks.map((network) => scoped(`network_${network.number}`, () => tracePass(network, options)));
  const figures: Record<string, Tensor> = {};
  let losses = passes.map((pass) => pass.loss);
  const [one, two] = passes;
  if (two) {
    const { penalty, terms } = scoped("orthogonality", () => traceOrthogonality(one, two, options));
    Object.assign(figures, terms);
    if (penalty) losses = passes.map((pass) => add(pass.loss, multiply(mean(pass.weights), penalty)));
  }
  for (const [index, pass] of passes.entries()) {
    if (!networks[index].trains && !options.allFigures) continue;
    figures[`mse_${networks[index].number}`] = pass.mse;
    figures[`loss_${networks[index].number}`] = losses[index];
  }
  const effects: Tensor[] = [], given: Record<string, Tensor> = {};
  for (const [index, network] of networks.entries()) {
    if (!network.trains) continue;
    scoped(`network_${network.number}.optimizer`, () => {
      const step = traceUpdate(network, index, losses, options);
      effects.push(...step.effects);
      Object.assign(figures, step.figures);
      Object.assign(given, step.given);
    });
  }
  return { effects, figures, gradients: given };
}

function tracePass({ number: k, base, lora, shape }: StepNetwork, options: StepOptions): Pass {
  const { batch, height, width, tokenRows } = shape;
  const hidden = new Map<string, Tensor | null>([[hooks.textEncoder, null], [hooks.unet, null]]);
  const picture = [batch, height, width, 4];
  const latents = scale(input(`latents_${k}`, picture), { factor: base.latentScale });
  const noise = options.noise === "fed"
    ? input(`noise_${k}`, picture)
    : randomNormal(input(`noise_key_${k}`, [4], "u32"), { shape: picture });
  const perSample = (name: string) => input(`${name}_${k}`, [batch]);
  const signal = reshape(perSample("signal"), [batch, 1, 1, 1]), sigma = reshape(perSample("sigma"), [batch, 1, 1, 1]);
  const ids = input(`ids_${k}`, [batch * tokenRows, 77], "i32");
  const context = base.encode(ids, { adapters: lora.adapters("text_encoder", { hidden }), rows: tokenRows });
  const noisy = add(multiply(signal, latents), multiply(sigma, noise));
  const prediction = base.denoise(noisy, perSample("timesteps"), context, {
    adapters: lora.adapters("unet", { hidden }),
  });
  const target = options.vParameterization ? subtract(multiply(signal, noise), multiply(sigma, latents)) : noise;
  const mse = mean(square(subtract(prediction, target)), [1, 2, 3]);
  return {
    mse,
    weights: perSample("loss_weights"),
    loss: mean(multiply(perSample("mse_weights"), mse)),
    textHidden: hidden.get(hooks.textEncoder) ?? null,
    unetHidden: hidden.get(hooks.unet) ?? null,
  };
}

function traceOrthogonality(one: Pass, two: Pass, { orthogonality }: StepOptions) {
  const terms: Record<string, Tensor> = {};
  let penalty: Tensor | null = null;
  const weigh = (term: Tensor, coefficient: number) => {
    // A term that is off must not be computed as 0 · P: an overflow in h would still make NaN.
    if (!orthogonality.on || coefficient === 0) return;
    const weighed = scale(term, { factor: coefficient });
    penalty = penalty ? add(penalty, weighed) : weighed;
  };
  if (one.textHidden && two.textHidden) {
    terms.orth_te = textOrthogonality(one.textHidden, two.textHidden, orthogonality.textMask);
    weigh(terms.orth_te, orthogonality.textCoefficient);
    terms.kld_te = textDivergence(one.textHidden, two.textHidden);
  }
  if (one.unetHidden && two.unetHidden) {
    terms.orth_unet = unetOrthogonality(one.unetHidden, two.unetHidden);
    weigh(terms.orth_unet, orthogonality.unetCoefficient);
    terms.kld_unet = unetDivergence(one.unetHidden, two.unetHidden);
  }
  return { penalty: penalty as Tensor | null, terms };
}

function traceUpdate(
  { number: k, lora, optimizer }: StepNetwork,
  index: number,
  losses: readonly Tensor[],
  options: StepOptions,
) {
  const { count, isLast } = options.accumulation;
  const other = losses.length > 1 && options.form === "original" ? losses[1 - index] : null;
  // Original form: backward(loss_1) and backward(loss_2) both reach this network; network 1 is clipped between the two.
  const gradient = (loss: Tensor) => flatGradient(loss, lora, options.gradientCheckpointing);
  const own = gradient(index === 0 || !other ? losses[index] : add(other, losses[index]));
  if (!own) throw new TypeError(`Cannot train ${lora.name}: its loss does not depend on it`);
  const late = index === 0 && other ? gradient(other) : null;
  const ranges = trainedRanges(losses[index], lora), kept = optimizer.gradient.tensor;
  const share = (flat: Tensor, range: Range) => {
    const part = partOf(flat, range);
    return count > 1 ? scale(part, { factor: 1 / count }) : part;
  };
  const total = ranges.map((range) => {
    const first = share(own, range), part = late && !isLast ? add(first, share(late, range)) : first;
    return count > 1 ? accumulate(partOf(kept, range), part, { keep: 1 }) : part;
  });
  if (!isLast) return { effects: total, figures: {}, given: {} };
  const clip = clipFactor(sumOfSquares(total), { limit: options.maxGradNorm });
  const figure = (place: number) => slice(clip, { axis: 0, start: place, length: 1 });
  const clipped = (place: number) => multiply(total[place], figure(1));
  const sums = late && ranges.map((range, i) => add(clipped(i), share(late, range)));
  // What comes after the clip can be infinite by itself, so it is asked again.
  const guard = sums ? clipFactor(sumOfSquares(sums), { limit: 0 }) : clip;
  const rate = input(`rate_${k}`, [3]);
  const given: Tensor[] = [], effects: Tensor[] = [];
  for (const [i, range] of ranges.entries()) {
    given.push(sums ? sums[i] : clipped(i));
    const [parameter] = adamwStep(
      partOf(lora.weights.tensor, range),
      partOf(optimizer.firstMoment.tensor, range),
      partOf(optimizer.secondMoment.tensor, range),
      given[i],
      guard,
      rate,
      options.optimizer,
    );
    effects.push(parameter);
  }
  if (count > 1) {
    const zeros = (range: Range) => fill({ shape: [range.length], value: 0 });
    effects.push(...ranges.map((range) => accumulate(partOf(kept, range), zeros(range), { keep: 0 })));
  }
  // 0 where the step was left out; a trainer stops there.
  const finite = reshape(slice(guard, { axis: 0, start: 2, length: 1 }), []);
  return {
    effects,
    figures: { [`norm_${k}`]: reshape(figure(0), []), [`finite_${k}`]: finite },
    given: { [`gradient_${k}`]: pack(given, ranges.map(({ start }) => start), lora.sizeElements) },
  };
}

/** A part of a network's flat weights, or of what is laid out as they are. */
interface Range {
  readonly start: number;
  readonly length: number;
}

/** Elements of a flat tensor that the optimizer takes at once: 32 MiB, so that bindings stay small and few bytes are held between two passes. */
const rangeElements = 2 ** 23;

function partOf(flat: Tensor, { start, length }: Range): Tensor {
  return window(flat, start, [length]);
}

function sumOfSquares(parts: readonly Tensor[]): Tensor {
  return parts.map((part) => sum(square(part))).reduce((total, part) => add(total, part));
}

/**
 * Ranges of a network's flat weights that a loss depends on, neighbours joined, none too long. PyTorch leaves a weight without a gradient
 * alone, decay included: such as those behind a skipped text layer.
 */
function trainedRanges(loss: Tensor, lora: LoraNetwork): Range[] {
  const depends = dependsOn(loss, lora.tensors.map(({ tensor }) => tensor));
  const ranges: { start: number; length: number }[] = [];
  for (const [i, { offsetElements }] of lora.tensors.entries()) {
    if (!depends[i]) continue;
    const end = lora.tensors[i + 1]?.offsetElements ?? lora.sizeElements, last = ranges.at(-1);
    const isNext = last && last.start + last.length === offsetElements;
    if (isNext && end - last.start <= rangeElements) last.length = end - last.start;
    else ranges.push({ start: offsetElements, length: end - offsetElements });
  }
  return ranges;
}

/** ∂loss / ∂weights of a whole network, laid out as its weights; null when the loss does not depend on them. */
function flatGradient(loss: Tensor, lora: LoraNetwork, checkpointing: boolean): Tensor | null {
  const found = gradients(loss, lora.tensors.map(({ tensor }) => tensor), { checkpointing });
  const parts = lora.tensors.map(({ offsetElements }, i) => ({ offsetElements, gradient: found[i] }))
    .filter((part): part is { offsetElements: number; gradient: Tensor } => part.gradient !== null);
  if (!parts.length) return null;
  return pack(parts.map((part) => part.gradient), parts.map((part) => part.offsetElements), lora.sizeElements);
}

/** Several small tensors as one output, so that a run's figures are read back together. */
export interface PackedFigures {
  readonly tensor: Tensor;
  /** Numbers of one packed row, under their names. */
  unpack(row: ArrayLike<number>): Record<string, number | number[]>;
}

/** Packs figures into one output. */
export function packFigures(figures: Readonly<Record<string, Tensor>>): PackedFigures {
  const names = Object.keys(figures), places: { name: string; offset: number; shape: readonly number[] }[] = [];
  let size = 0;
  for (const name of names) {
    places.push({ name, offset: size, shape: figures[name].shape });
    size = Math.ceil((size + elementCount(figures[name].shape)) / 64) * 64;
  }
  return {
    tensor: pack(names.map((name) => figures[name]), places.map(({ offset }) => offset), size),
    unpack: (row) =>
      Object.fromEntries(places.map(({ name, offset, shape }) => [
        name,
        shape.length === 0 ? row[offset] : Array.from({ length: elementCount(shape) }, (_, i) => row[offset + i]),
      ])),
  };
}
