import { countDispatches, type Device, type FloatFormat, type Program } from "../engine/mod.ts";
import { LoraNetwork } from "../lora/network.ts";
import type { BaseModel } from "../models/base_model.ts";
import type { TrainBatch } from "../training/feeds.ts";
import { type StepFigures, Trainer, type TrainerNetwork } from "../training/trainer.ts";
import { planStep, type StepPlan } from "../training/training_program.ts";
import { type BaseName, loadBase, openBase } from "./bases.ts";
import { type Line, type LineKey, type Measured, measureLine } from "./line.ts";
import { uniform } from "./op_list.ts";
import { countOperations } from "./operations.ts";

/** A training step of two networks. */
export interface DualStep {
  readonly base: BaseName;
  /** Side of the square pictures. */
  readonly pixels: number;
  readonly rank: number;
  /** Pictures of network 1 and of network 2. */
  readonly batches: readonly [number, number];
  /** Whether network 1 trains, or only lends its hidden layers. */
  readonly mode: "both" | "frozen";
  /** What frozen weights and activations are stored in. */
  readonly precision: FloatFormat;
  /** Too long, or too much memory, to be measured unless asked for. */
  readonly large?: boolean;
}

const toy = { base: "toy", pixels: 128, rank: 16, mode: "both", precision: "f32" } as const;
const sd15 = { base: "sd15", rank: 64, batches: [1, 1], large: true } as const;

/** The steps that are measured: the small base, with batches of several sizes, and SD v1.5's sizes. */
export const dualSteps: readonly DualStep[] = [
  { ...toy, batches: [1, 1] },
  { ...toy, batches: [1, 1], mode: "frozen" },
  ...([[2, 2], [4, 4], [8, 8], [1, 4], [4, 1]] as const).map((batches) => ({ ...toy, batches })),
  { ...sd15, pixels: 64, mode: "both", precision: "f32" },
  { ...sd15, pixels: 64, mode: "frozen", precision: "f32" },
  { ...sd15, pixels: 512, mode: "both", precision: "f16" },
  { ...sd15, pixels: 512, mode: "frozen", precision: "f16" },
];

const rowTokens = 77, trainerOptions = { seed: 0, totalSteps: 1 };

/** What a step's line is joined by. */
export function dualStepKey({ base, pixels, rank, batches: [first, second], mode, precision }: DualStep): LineKey {
  const batch = first === second ? `${first}` : `${first}+${second}`;
  const shape = `${base} ${pixels}px batch${batch} rank${rank} ${mode}`;
  return { op: "dual_step", shape, pass: "step", dtype: precision };
}

/** Measures a whole training step of two networks, as a recipe runs it. */
export async function measureDualStep(step: DualStep, options: { seconds: number }): Promise<Line> {
  return await measureLine(dualStepKey(step), options, (device) => prepareDualStep(device, step));
}

/** Puts a training step on a device, ready to be timed. */
export async function prepareDualStep(device: Device, step: DualStep): Promise<Measured> {
  const { base, networks } = await openPair(step);
  await loadBase(step.base, base, device);
  for (const { number, lora } of networks) device.upload(lora.weights, startingWeights(lora, number, step.rank));
  const trainer = new Trainer(device, base.schedule, networks, { ...trainerOptions, activations: step.precision });
  const batches = networks.map(({ number }) => batchOf(base, number, step)), phase = phaseOf(step);
  let last: StepFigures | undefined;
  return {
    run: async () => {
      last = (await trainer.train(0, phase, [batches])).at(-1) ?? last;
    },
    wait: async () => {
      last = (await trainer.readFigures()).at(-1) ?? last;
    },
    figures: ({ medianMs, maxMs }) => {
      const program = planDualStep(base, networks, step), operations = countOperations(program);
      return {
        gflops: operations / medianMs / 1e6,
        tflop: operations / 1e12,
        ms_max: maxMs,
        ms_per_picture: medianMs / (step.batches[0] + step.batches[1]),
        dispatches: countDispatches(program, device.facts.target),
        peak_bytes: program.peakBytes,
        same_base: true,
        losses: ["loss_1", "loss_2"].flatMap((name) => last!.values[name] ?? []),
      };
    },
  };
}

/** The program that a step is, planned without a GPU. */
export async function dualStepProgram(step: DualStep, plan?: StepPlan): Promise<Program> {
  const { base, networks } = await openPair(step);
  return planDualStep(base, networks, step, plan);
}

async function openPair(step: DualStep): Promise<{ base: BaseModel; networks: TrainerNetwork[] }> {
  const base = await openBase(step.base, step.precision);
  const layers = { text_encoder: base.textLayers, unet: base.unetLayers };
  const networks = ([1, 2] as const).map((number): TrainerNetwork => ({
    number,
    base,
    lora: new LoraNetwork(`network ${number}`, layers, { rank: step.rank }),
    settings: { learningRate: 1e-4 },
  }));
  return { base, networks };
}

function planDualStep(
  base: BaseModel,
  networks: readonly TrainerNetwork[],
  step: DualStep,
  plan: StepPlan = {},
): Program {
  const side = step.pixels / 8, accumulation = { count: 1, isLast: true };
  const shapes = step.batches.map((batch) => ({ batch, height: side, width: side, tokenRows: 1 }));
  const options = { activations: step.precision };
  return planStep(networks, base.schedule, shapes, phaseOf(step), accumulation, options, plan);
}

function phaseOf({ mode }: DualStep) {
  return { network1Trains: mode === "both", orthogonalityOn: true };
}

/** Up projections that are not 0, as they are from the second step on: else the orthogonality terms would be. */
function startingWeights(lora: LoraNetwork, seed: number, rank: number): Float32Array {
  return lora.flatten(({ down, up }) => {
    const limit = 1 / Math.sqrt(down.sizeElements / rank);
    return {
      down: uniform(down.sizeElements, seed).map((value) => value * limit),
      up: uniform(up.sizeElements, seed).map((value) => value * 0.01),
    };
  });
}

/** Latents and token ids by rule: a step's time does not depend on what they show. */
function batchOf(base: BaseModel, number: 1 | 2, { pixels, batches }: DualStep): TrainBatch {
  const side = pixels / 8;
  const samples = Array.from({ length: batches[number - 1] }, (_, i) => {
    const seed = number + 2 * i;
    return { latents: uniform(side * side * 4, seed), ids: tokenIds(base, seed), lossWeight: 1 };
  });
  return { height: side, width: side, tokenRows: 1, samples };
}

/** A row of token ids by rule. */
export function tokenIds(base: BaseModel, seed: number): number[] {
  const { vocabularySize } = base.textConfig;
  return Array.from(uniform(rowTokens, seed), (value) => Math.floor((value + 1) / 2 * vocabularySize));
}
