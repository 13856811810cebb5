import {
  accumulate,
  type AdamWAttributes,
  adamwStep,
  add,
  clipFactor,
  dependsOn,
  fill,
  gradients,
  haltUnlessFinite,
  input,
  mean,
  multiply,
  pack,
  randomNormal,
  reshape,
  scale,
  scoped,
  slice,
  sqrt,
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
import { type PackedFigures, packFigures } from "./packed_figures.ts";
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
  /** See `haltFlag`. */
  readonly halted: Variable;
}

/**
 * What holds a run after a figure that is NaN or infinite: u32 `[1]`, 0 at first. From that step on, and until the host writes 0 again, steps change neither weights nor
 * the optimizers' state.
 */
export function haltFlag(): Variable {
  return new Variable("halted", { shape: [1], dtype: "u32" });
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
  /** The same in one tensor: what decides whether the step counts. */
  readonly packedFigures: PackedFigures;
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
  const figures: Record<string, Tensor> = {}, terms: Record<string, Tensor> = {};
  let losses = passes.map((pass) => pass.loss);
  const [one, two] = passes;
  if (two) {
    const { penalty, ...traced } = scoped("orthogonality", () => traceOrthogonality(one, two, options));
    Object.assign(terms, traced.terms);
    if (penalty) losses = passes.map((pass) => add(pass.loss, multiply(mean(pass.weights), penalty)));
  }
  for (const [index, pass] of passes.entries()) {
    if (!networks[index].trains && !options.allFigures) continue;
    figures[`loss_${networks[index].number}`] = losses[index];
    figures[`mse_${networks[index].number}`] = pass.mse;
  }
  Object.assign(figures, terms);
  const trained = networks.flatMap((network, index) =>
    network.trains
      ? [{ network, gradient: scoped(optimizerScope(network), () => traceGradient(network, index, losses, options)) }]
      : []
  );
  for (const { gradient } of trained) Object.assign(figures, gradient.figures);
  const packedFigures = packFigures(figures);
  if (!options.accumulation.isLast) {
    return { effects: trained.flatMap(({ gradient }) => gradient.kept), figures, packedFigures, gradients: {} };
  }
  // All of a step counts, or nothing: the figures of both networks are asked before anything changes.
  const halted = haltUnlessFinite(options.halted.tensor, packedFigures.tensor);
  const updates = trained.map(({ network, gradient }) =>
    scoped(optimizerScope(network), () => traceUpdate(network, gradient, halted, options))
  );
  return {
    effects: [halted, ...updates.flatMap(({ effects }) => effects)],
    figures,
    packedFigures,
    gradients: Object.fromEntries(trained.map(({ network }, i) => [`gradient_${network.number}`, updates[i].given])),
  };
}

function optimizerScope({ number }: StepNetwork): string {
  return `network_${number}.optimizer`;
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

/** What a step makes of one network's gradient, before anything is changed. */
interface TracedGradient {
  /** Before the last micro-batch: gradients added to those of earlier ones, as effects. */
  readonly kept: readonly Tensor[];
  /** The norms that are logged; none before the last micro-batch. */
  readonly figures: Readonly<Record<string, Tensor>>;
  readonly ranges: readonly Range[];
  /** What the optimizer gets for a range, by its place; computed anew each time it is asked for, so that it need not be held. */
  readonly given: (place: number) => Tensor;
}

function traceGradient(
  { number: k, lora, optimizer }: StepNetwork,
  index: number,
  losses: readonly Tensor[],
  options: StepOptions,
): TracedGradient {
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
  if (!isLast) return { kept: total, figures: {}, ranges, given: (place) => total[place] };
  const clip = clipFactor(sumOfSquares(total), { limit: options.maxGradNorm });
  const figure = (place: number) => slice(clip, { axis: 0, start: place, length: 1 });
  const given = (place: number) => {
    const clipped = multiply(total[place], figure(1));
    return late ? add(clipped, share(late, ranges[place])) : clipped;
  };
  const figures: Record<string, Tensor> = { [`norm_${k}`]: reshape(figure(0), []) };
  // What comes behind the clip can be infinite by itself, so its norm counts too.
  if (late) figures[`norm_given_${k}`] = sqrt(sumOfSquares(ranges.map((_, place) => given(place))));
  return { kept: [], figures, ranges, given };
}

/** The optimizer's step; it changes nothing where `halted` is set. */
function traceUpdate(
  { number: k, lora, optimizer }: StepNetwork,
  { ranges, given }: TracedGradient,
  halted: Tensor,
  options: StepOptions,
): { effects: Tensor[]; given: Tensor } {
  const rate = input(`rate_${k}`, [3]);
  const gradients: Tensor[] = [], effects: Tensor[] = [];
  for (const [place, range] of ranges.entries()) {
    gradients.push(given(place));
    const [parameter] = adamwStep(
      partOf(lora.weights.tensor, range),
      partOf(optimizer.firstMoment.tensor, range),
      partOf(optimizer.secondMoment.tensor, range),
      gradients[place],
      halted,
      rate,
      options.optimizer,
    );
    effects.push(parameter);
  }
  if (options.accumulation.count > 1) {
    const zeros = ({ length }: Range) => fill({ shape: [length], value: 0 });
    effects.push(
      ...ranges.map((range) => accumulate(partOf(optimizer.gradient.tensor, range), zeros(range), { keep: 0 })),
    );
  }
  return { effects, given: pack(gradients, ranges.map(({ start }) => start), lora.sizeElements) };
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
