import { join } from "node:path";
import type { Device, Program } from "../engine/mod.ts";
import { LoraNetwork } from "../lora/network.ts";
import { BaseModel } from "../models/base_model.ts";
import { projectFolder } from "../tools/project_files.ts";
import type { TrainBatch } from "../training/feeds.ts";
import { type StepFigures, Trainer, type TrainerNetwork } from "../training/trainer.ts";
import { planStep } from "../training/training_program.ts";
import { type Line, type LineKey, type Measured, measureLine } from "./line.ts";
import { countOperations } from "./operations.ts";
import { uniform } from "./op_list.ts";

/** Whether network 1 trains, or only lends its hidden layers. */
export type DualStepMode = "both" | "frozen";

/** Both modes. */
export const dualStepModes: readonly DualStepMode[] = ["both", "frozen"];

const pixels = 128, latentSide = pixels / 8, rank = 16, rowTokens = 77;
const trainerOptions = { seed: 0, totalSteps: 1 };

/** What the line of a mode is joined by. */
export function dualStepKey(mode: DualStepMode): LineKey {
  return { op: "dual_step", shape: `toy ${pixels}px batch1 rank${rank} ${mode}`, pass: "step" };
}

/** Measures a whole training step of two networks on the toy base, as a recipe runs it. */
export async function measureDualStep(mode: DualStepMode, options: { seconds: number }): Promise<Line> {
  return await measureLine(dualStepKey(mode), options, (device) => prepare(device, mode));
}

async function prepare(device: Device, mode: DualStepMode): Promise<Measured> {
  const { base, networks } = await openPair();
  await base.load(device);
  for (const { number, lora } of networks) device.upload(lora.weights, startingWeights(lora, number));
  const trainer = new Trainer(device, base.schedule, networks, trainerOptions);
  const batches = networks.map(({ number }) => batchOf(base, number)), phase = phaseOf(mode);
  let last: StepFigures | undefined;
  return {
    run: async () => {
      last = (await trainer.train(0, phase, [batches])).at(-1) ?? last;
    },
    wait: async () => {
      last = (await trainer.readFigures()).at(-1) ?? last;
    },
    figures: ({ medianMs, maxMs }) => {
      const program = planDualStep(base, networks, mode), operations = countOperations(program);
      return {
        gflops: operations / medianMs / 1e6,
        tflop: operations / 1e12,
        ms_max: maxMs,
        peak_bytes: program.peakBytes,
        same_base: true,
        losses: ["loss_1", "loss_2"].flatMap((name) => last!.values[name] ?? []),
      };
    },
  };
}

/** The program that a mode's step is, planned without a GPU. */
export async function dualStepProgram(mode: DualStepMode): Promise<Program> {
  const { base, networks } = await openPair();
  return planDualStep(base, networks, mode);
}

async function openPair(): Promise<{ base: BaseModel; networks: TrainerNetwork[] }> {
  const base = await BaseModel.open(join(projectFolder, "assets", "toy", "base"));
  const layers = { text_encoder: base.textLayers, unet: base.unetLayers };
  const networks = ([1, 2] as const).map((number): TrainerNetwork => ({
    number,
    base,
    lora: new LoraNetwork(`network ${number}`, layers, { rank }),
    settings: { learningRate: 1e-4 },
  }));
  return { base, networks };
}

function planDualStep(base: BaseModel, networks: readonly TrainerNetwork[], mode: DualStepMode): Program {
  const shape = { batch: 1, height: latentSide, width: latentSide, tokenRows: 1 };
  const accumulation = { count: 1, isLast: true };
  return planStep(networks, base.schedule, [shape, shape], phaseOf(mode), accumulation, {});
}

function phaseOf(mode: DualStepMode) {
  return { network1Trains: mode === "both", orthogonalityOn: true };
}

/** Up projections that are not 0, as they are from the second step on: else the orthogonality terms would be. */
function startingWeights(lora: LoraNetwork, seed: number): Float32Array {
  return lora.flatten(({ down, up }) => {
    const limit = 1 / Math.sqrt(down.sizeElements / rank);
    return {
      down: uniform(down.sizeElements, seed).map((value) => value * limit),
      up: uniform(up.sizeElements, seed).map((value) => value * 0.01),
    };
  });
}

/** Latents and token ids by rule: a step's time does not depend on what they show. */
function batchOf(base: BaseModel, number: number): TrainBatch {
  const ids = Array.from(
    uniform(rowTokens, number),
    (value) => Math.floor((value + 1) / 2 * base.textConfig.vocabularySize),
  );
  const latents = uniform(latentSide * latentSide * 4, number);
  return { height: latentSide, width: latentSide, tokenRows: 1, samples: [{ latents, ids, lossWeight: 1 }] };
}
