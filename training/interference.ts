import { type Device, square, sum, type Tensor } from "../engine/mod.ts";
import type { LoraNetwork, Part } from "../lora/network.ts";
import { hooks, textDivergence, textOrthogonality, unetDivergence, unetOrthogonality } from "../lora/orthogonality.ts";
import type { ModuleResponse } from "../lora/responses.ts";
import type { Adapters } from "../models/source.ts";
import { batchFigures, type BatchFiguresRequest } from "./batch_figures.ts";
import { type BatchShape, traceNoisyBatch, tracePrediction, type TrainableBase } from "./denoising.ts";
import type { TrainBatch, TrainingNoise } from "./feeds.ts";
import { type PackedFigures, packFigures } from "./packed_figures.ts";

/** Two networks in one base, and the data that each of them is about. */
export interface InterferenceRequest extends Pick<BatchFiguresRequest, "onBatch" | "signal"> {
  readonly base: TrainableBase;
  readonly network1: LoraNetwork;
  readonly network2: LoraNetwork;
  readonly noise: TrainingNoise;
  /** Latents with prompts of each network, tried at `spreadTimesteps`; at least one batch of each. */
  readonly own: readonly [readonly TrainBatch[], readonly TrainBatch[]];
  /** Of the noise. */
  readonly seed: number;
}

/** What the graphs depend on. */
type Networks = Pick<InterferenceRequest, "base" | "network1" | "network2">;

/** The method's terms at its two hooks, each network on its own data; `null` where one of them has no module there. */
export interface HookFigures {
  /** `mean((h₁h₂ᵀ ⊙ (1 − I))²)` over tokens: the method's formula. */
  readonly textRest: number | null;
  /** `mean((h₁h₂ᵀ ⊙ I)²)`: the original script's. */
  readonly textDiagonal: number | null;
  readonly unet: number | null;
  /** Kullback-Leibler divergences of the hidden layers' softmax, in nats. */
  readonly textDivergence: number | null;
  readonly unetDivergence: number | null;
}

/** Streams of noise that neither training, validation nor additivity draws from. */
const responseStream = 150, hookStream = 160;

const request = ({ base }: Networks, number: 1 | 2, shape: BatchShape) =>
  ({ number, base, shape, loss: {}, noise: "drawn", vParameterization: false }) as const;

/** Modules that both networks have, by kohya's names. */
function commonModules({ network1, network2 }: Networks): string[] {
  return network1.modules.map(({ name }) => name).filter((name) => network2.module(name) !== undefined);
}

/**
 * Traces how strongly both networks' modules answer to the inputs that the layers of the base alone have: `<k> <module>`, the sum of squares of network k's delta. The
 * networks look on: the base predicts as if they were not there. The last module's layer ends it.
 */
export function traceResponses(networks: Networks, shape: BatchShape): PackedFigures {
  const { network1, network2 } = networks, names = commonModules(networks), figures: Record<string, Tensor> = {};
  const hidden = [0, 1].map(() => new Map<string, Tensor | null>(names.map((name) => [name, null])));
  const lookOn = (part: Part): Adapters => {
    const adapters = [network1, network2].map((lora, k) => lora.adapters(part, { hidden: hidden[k] }));
    const own = network1.modules.filter((module) => module.part === part && hidden[0].has(module.name));
    const byPath = new Map(own.map(({ layer, name }) => [layer.path, name]));
    return (layer) => {
      const name = byPath.get(layer.path);
      if (name === undefined) return null;
      const both = adapters.map((each) => each(layer)!);
      return (x, y) => {
        for (const [k, adapter] of both.entries()) {
          adapter(x, y);
          // Traced here, so that no delta and no layer's input has to be kept until the end.
          figures[`${k + 1} ${name}`] = sum(square(hidden[k].get(name)!));
        }
        return y;
      };
    };
  };
  tracePrediction({ ...request(networks, 1, shape), adapters: lookOn }, traceNoisyBatch(request(networks, 1, shape)));
  return packFigures(figures);
}

/** Traces the terms at the method's two hooks: each network's hidden layer on its own batch, with that network alone in the base. */
export function traceHooks(networks: Networks, shapes: readonly BatchShape[]): PackedFigures {
  const [one, two] = ([1, 2] as const).map((number) => {
    const lora = number === 1 ? networks.network1 : networks.network2,
      own = request(networks, number, shapes[number - 1]);
    const hidden = new Map<string, Tensor | null>([[hooks.textEncoder, null], [hooks.unet, null]]);
    tracePrediction({ ...own, adapters: (part) => lora.adapters(part, { hidden }) }, traceNoisyBatch(own));
    return hidden;
  });
  const [text1, text2, unet1, unet2] = [hooks.textEncoder, hooks.unet].flatMap((
    name,
  ) => [one.get(name), two.get(name)]);
  return packFigures({
    ...text1 && text2
      ? {
        textRest: textOrthogonality(text1, text2, "1-I"),
        textDiagonal: textOrthogonality(text1, text2, "I"),
        textDivergence: textDivergence(text1, text2),
      }
      : {},
    ...unet1 && unet2 ? { unet: unetOrthogonality(unet1, unet2), unetDivergence: unetDivergence(unet1, unet2) } : {},
  });
}

/** Whether both networks have a module at one of the method's hooks. */
export function hasHooks({ network1, network2 }: Pick<Networks, "network1" | "network2">): boolean {
  return Object.values(hooks).some((name) => network1.module(name) && network2.module(name));
}

/**
 * Measures crosstalk on data: norms of what the modules of both networks answer to each network's data, over all its batches, timesteps, positions and channels. Forward
 * alone; the networks' weights are on the device.
 *
 * @throws {RangeError} If a network has no data, or they have no module in common.
 * @throws The signal's reason.
 */
export async function measureResponses(device: Device, given: InterferenceRequest): Promise<ModuleResponse[]> {
  checkOwn(given);
  const names = commonModules(given);
  if (names.length === 0) throw new RangeError("Cannot measure crosstalk: the networks have no module in common");
  const [one] = given.own, batches = given.own.flat().map((batch) => [batch]);
  const trace = ([shape]: readonly BatchShape[]) => traceResponses(given, shape);
  const rows = await batchFigures(device, batches, { ...given, trace, noiseStream: responseStream });
  const squares = [rows.slice(0, one.length), rows.slice(one.length)].map((own) => {
    const sums = new Map<string, number>();
    for (const [name, value] of own.flat().flatMap((row) => Object.entries(row))) {
      sums.set(name, (sums.get(name) ?? 0) + (value as number));
    }
    return sums;
  });
  const norm = (data: 0 | 1, network: 1 | 2, name: string) => Math.sqrt(squares[data].get(`${network} ${name}`)!);
  // A text encoder that is left early never asks its last layers.
  return names.filter((name) => squares[0].has(`1 ${name}`)).map((name) => ({
    name,
    own: [norm(0, 1, name), norm(1, 2, name)],
    foreign: [norm(0, 2, name), norm(1, 1, name)],
  }));
}

/** What is measured together at the hooks: the first of each, and so on; the shorter list again from its start. */
export function hookPairs<Each>(one: readonly Each[], two: readonly Each[]): Each[][] {
  const length = one.length && two.length ? Math.max(one.length, two.length) : 0;
  return Array.from({ length }, (_, i) => [one[i % one.length], two[i % two.length]]);
}

/**
 * Measures the method's terms at its hooks, as a mean over pairs of batches: network 1's first with network 2's first and so on, those of the shorter list again from the
 * start, at the same timesteps with noise of their own. Forward alone.
 *
 * @throws {RangeError} If a network has no data.
 * @throws The signal's reason.
 */
export async function measureHooks(device: Device, given: InterferenceRequest): Promise<HookFigures> {
  checkOwn(given);
  const [one, two] = given.own,
    names = ["textRest", "textDiagonal", "unet", "textDivergence", "unetDivergence"] as const;
  const pairs = hookPairs(one, two);
  const rows = hasHooks(given)
    ? await batchFigures(device, pairs, {
      ...given,
      trace: (shapes) => traceHooks(given, shapes),
      noiseStream: hookStream,
    })
    : [];
  const mean = (name: string) => {
    const found = rows.flat().flatMap((row) => name in row ? [row[name] as number] : []);
    return found.length === 0 ? null : found.reduce((total, value) => total + value, 0) / found.length;
  };
  return Object.fromEntries(names.map((name) => [name, mean(name)])) as unknown as HookFigures;
}

function checkOwn({ own }: InterferenceRequest): void {
  const without = own.findIndex((batches) => batches.length === 0);
  if (without >= 0) {
    throw new RangeError(`Cannot measure interference: network ${without + 1} has no latents to be tried on`);
  }
}
