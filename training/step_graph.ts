import {
  add,
  type FloatFormat,
  haltUnlessFinite,
  input,
  mean,
  multiply,
  scoped,
  type Tensor,
  Variable,
} from "../engine/mod.ts";
import { dropoutKeyStride } from "../lora/dropout.ts";
import type { LoraNetwork, Part } from "../lora/network.ts";
import { hooks } from "../lora/orthogonality.ts";
import { type CouplingOptions, hookedModules, traceCoupling } from "./coupling.ts";
import {
  type BatchShape,
  type DenoisingRequest,
  type NoisyBatch,
  traceNoisyBatch,
  tracePrediction,
  type TrainableBase,
} from "./denoising.ts";
import { type LossOptions, sampleLoss } from "./loss.ts";
import type { Optimizer } from "./optimizers/optimizer.ts";
import type { ParameterGroups } from "./parameter_groups.ts";
import { type PackedFigures, packFigures } from "./packed_figures.ts";
import { type StackOptions, traceStackLoss } from "./stack_loss.ts";
import type { WeightNormLimit } from "./weight_norms.ts";
import { traceGradient, traceUpdate } from "./step_update.ts";

/** One network in a step. */
export interface StepNetwork {
  /** 1 or 2: inputs and figures carry it in their names. */
  readonly number: 1 | 2;
  readonly base: TrainableBase;
  readonly lora: LoraNetwork;
  readonly optimizer: Optimizer;
  /** Gradients kept between micro-batches, laid out as the weights; zero-filled when the device first uses it. */
  readonly accumulated: Variable;
  readonly groups: ParameterGroups;
  /** 0: no clipping. */
  readonly maxGradNorm: number;
  readonly loss: LossOptions;
  /** Null: weights may have any norm. */
  readonly weightNorms: WeightNormLimit | null;
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

/** Everything else that shapes the graph. */
export interface StepOptions {
  readonly form: StepForm;
  readonly orthogonality: CouplingOptions;
  /** What network 2 also learns with both networks in one base; nothing when left out. */
  readonly stack?: StackOptions;
  readonly vParameterization: boolean;
  /** Micro-batches per step, and whether this graph is the last one of a step. */
  readonly accumulation: { readonly count: number; readonly isLast: boolean };
  /** Noise comes with the batch, or is drawn on the device from `noise_key_<k>`. */
  readonly noise: "fed" | "drawn";
  /** Also computes the loss of a network that does not train. */
  readonly allFigures: boolean;
  /** Computes the blocks' insides again for the gradients, instead of keeping them: less memory, more time, the same bits. */
  readonly gradientCheckpointing: boolean;
  /** What the models' activations are stored in, from the forward pass for the backward pass; f32 when left out. Gradients are f32. */
  readonly activations?: FloatFormat;
  /** See `haltFlag`. */
  readonly halted: Variable;
}

/**
 * What holds a run after a figure that is NaN or infinite: u32 `[1]`, 0 at first. From that step on, and until the host writes 0 again, steps change neither
 * weights nor the optimizers' state.
 */
export function haltFlag(): Variable {
  return new Variable("halted", { shape: [1], dtype: "u32" });
}

/** A traced step: what to run it for, and what can be read from it. */
export interface StepGraph {
  readonly effects: readonly Tensor[];
  /** Losses, terms and norms by the names that logs use: scalars, and `mse_<k>` `[batch]`. They decide whether the step counts. */
  readonly figures: Readonly<Record<string, Tensor>>;
  /** What the optimizers say of themselves after the step, such as `d_<k>`: scalars. */
  readonly optimizerFigures: Readonly<Record<string, Tensor>>;
  /** All figures in one tensor. */
  readonly packedFigures: PackedFigures;
  /** The method's hidden layers, `hook_text_<k>` and `hook_unet_<k>`, as far as the networks reach. */
  readonly hidden: Readonly<Record<string, Tensor>>;
  /** What each training network's optimizer gets, flat; empty before the last micro-batch. */
  readonly gradients: Readonly<Record<string, Tensor>>;
}

/** One network's forward pass over its own batch. */
export interface Pass {
  readonly request: DenoisingRequest;
  readonly lora: LoraNetwork;
  readonly batch: NoisyBatch;
  readonly prediction: Tensor;
  readonly mse: Tensor;
  /** Deltas of the modules that are hooked, by kohya's names; null where the network has no such module. */
  readonly hidden: ReadonlyMap<string, Tensor | null>;
  /** `[batch]`: the samples' loss weights w. */
  readonly weights: Tensor;
  /** `[batch]`: w · s. */
  readonly mseWeights: Tensor;
  /** `[]`: mean of w · s · MSE. */
  readonly loss: Tensor;
}

/**
 * Traces one training step of one network, or of two that see the same timesteps and constrain each other.
 *
 * `loss_k = mean(w_k · s_k · MSE_k) + mean(w_k) · P` with `P = λ_te · O_te + λ_unet · O_unet + λ_kld · (KL_te + KL_unet)`, and the terms of other hooks and of
 * the weights, while orthogonality is on; see `traceCoupling`. Network 2's loss has the stack's beside it, see `traceStackLoss`.
 *
 * Inputs, for network k = 1, 2: `latents_<k>` `[batch, height, width, 4]` as the VAE gives them, `noise_<k>` of that shape (or `noise_key_<k>` u32 [4]),
 * `ids_<k>` i32 `[batch · rows, 77]` or `context_<k>` `[batch, 75 · rows + 2, contextSize]`, with weights `token_weights_<k>` `[batch, 75 · rows + 2]`,
 * `timesteps_<k>`, `signal_<k>` √ᾱ, `sigma_<k>` √(1 − ᾱ), `loss_weights_<k>` w and `mse_weights_<k>` w · s, each `[batch]`;
 * with a noise offset `offset_<k>` `[batch, 1, 1, 4]` (or `offset_key_<k>`); with a Huber loss its threshold `huber_<k>` `[batch]`; with dropout its
 * `dropout_keys_<k>`, see `dropoutKeys`; `rates_<k>`, see
 * `traceUpdate`, on the last micro-batch of a network that trains. The MSE is any of the losses, see `sampleLoss`.
 */
export function traceStep(networks: readonly StepNetwork[], options: StepOptions): StepGraph {
  const hooked = networks.length === 2 ? hookedModules(networks.map(({ lora }) => lora), options.orthogonality) : [];
  const names = [...new Set([hooks.textEncoder, hooks.unet, ...hooked.map(({ name }) => name)])];
  const passes = networks.map((network) =>
    scoped(`network_${network.number}`, () => tracePass(network, names, options))
  );
  const figures: Record<string, Tensor> = {}, terms: Record<string, Tensor> = {};
  let losses = passes.map((pass) => pass.loss);
  const [one, two] = passes;
  if (options.stack && options.form === "original") {
    throw new RangeError("Cannot train the stack in the original form: each network must descend its own loss alone");
  }
  if (two) {
    const { penalty, ...traced } = scoped(
      "orthogonality",
      () => traceCoupling(one, two, hooked, options.orthogonality),
    );
    Object.assign(terms, traced.terms);
    if (penalty) losses = passes.map((pass) => add(pass.loss, multiply(mean(pass.weights), penalty)));
    if (options.stack) {
      const stack = scoped("stack", () => traceStackLoss(one, two, options.stack!));
      Object.assign(terms, stack.terms);
      losses = [losses[0], add(losses[1], stack.loss)];
    }
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
  const packedFigures = packFigures(figures), hidden: Record<string, Tensor> = {};
  for (const [index, pass] of passes.entries()) {
    const text = pass.hidden.get(hooks.textEncoder), unet = pass.hidden.get(hooks.unet);
    if (text) hidden[`hook_text_${networks[index].number}`] = text;
    if (unet) hidden[`hook_unet_${networks[index].number}`] = unet;
  }
  if (!options.accumulation.isLast) {
    const effects = trained.flatMap(({ gradient }) => gradient.kept);
    return { effects, figures, optimizerFigures: {}, packedFigures, hidden, gradients: {} };
  }
  // All of a step counts, or nothing: the figures of both networks are asked before anything changes.
  const halted = haltUnlessFinite(options.halted.tensor, packedFigures.tensor);
  const updates = trained.map(({ network, gradient }) =>
    scoped(optimizerScope(network), () => traceUpdate(network, gradient, halted, options))
  );
  const optimizerFigures: Record<string, Tensor> = Object.assign({}, ...updates.map((update) => update.figures));
  return {
    effects: [halted, ...updates.flatMap(({ effects }) => effects)],
    figures,
    optimizerFigures,
    packedFigures: Object.keys(optimizerFigures).length
      ? packFigures({ ...figures, ...optimizerFigures })
      : packedFigures,
    hidden,
    gradients: Object.fromEntries(trained.map(({ network }, i) => [`gradient_${network.number}`, updates[i].given])),
  };
}

function optimizerScope({ number }: StepNetwork): string {
  return `network_${number}.optimizer`;
}

function tracePass(
  { number, base, lora, shape, loss }: StepNetwork,
  hookNames: readonly string[],
  options: StepOptions,
): Pass {
  const hidden = new Map<string, Tensor | null>(hookNames.map((name) => [name, null]));
  const dropoutKeys = lora.dropoutKeyCount
    ? input(`dropout_keys_${number}`, [lora.dropoutKeyCount * dropoutKeyStride], "u32")
    : null;
  const { noise, vParameterization, activations = "f32" } = options;
  const adapters = (part: Part) => lora.adapters(part, { hidden, dropoutKeys });
  const request: DenoisingRequest = { number, base, shape, loss, noise, vParameterization, activations, adapters };
  const batch = traceNoisyBatch(request), prediction = tracePrediction(request, batch);
  const mse = sampleLoss(prediction, batch.target, loss.type ?? "l2", batch.threshold);
  const perSample = (name: string) => input(`${name}_${number}`, [shape.batch]);
  const mseWeights = perSample("mse_weights");
  return {
    ...{ request, lora, batch, prediction, mse, hidden, mseWeights },
    weights: perSample("loss_weights"),
    loss: mean(multiply(mseWeights, mse)),
  };
}
