import { type CompiledProgram, type Device, plan, type Program, type Recorder, type SlotPool } from "../engine/mod.ts";
import { stacked } from "../models/source.ts";
import type { LoraNetwork } from "../lora/network.ts";
import { type BatchShape, traceDenoising } from "./denoising.ts";
import { batchFeeds, shapeOf, type TrainBatch, type TrainingNoise } from "./feeds.ts";
import type { LossOptions } from "./loss.ts";
import type { TrainerNetwork } from "./trainer.ts";

/** Timesteps at which held-out pictures are tried: sd-scripts' four, evenly spread over the schedule. */
const validationTimesteps = 4;

/** The loss that is validated: the kind of the network's own, without what weighs or widens it in training. */
function validatedLoss({ type, huberC, huberSchedule }: LossOptions = {}): LossOptions {
  return {
    ...(type === undefined ? {} : { type }),
    ...(huberC === undefined ? {} : { huberC }),
    ...(huberSchedule === undefined ? {} : { huberSchedule }),
  };
}

/** Timesteps between the schedule's ends, evenly spread, as whole numbers. */
export function spreadTimesteps(trainTimesteps: number): number[] {
  return Array.from(
    { length: validationTimesteps },
    (_, i) => Math.floor(trainTimesteps * (i + 1) / (validationTimesteps + 1)),
  );
}

/** Plans the loss of a batch with some networks, without a GPU: its output `losses` is `[batch]`. */
export function planValidation(
  network: TrainerNetwork,
  loras: readonly LoraNetwork[],
  shape: BatchShape,
  { predictionType }: Pick<TrainingNoise, "predictionType">,
): Program {
  const losses = traceDenoising({
    number: network.number,
    base: network.base,
    shape,
    loss: validatedLoss(network.settings.loss),
    noise: "drawn",
    vParameterization: predictionType === "v_prediction",
    adapters: (part) => stacked(loras.map((lora) => lora.adapters(part))),
  });
  return plan({ outputs: { losses } });
}

/** What a validator is made of. */
export interface ValidatorOptions {
  readonly device: Device;
  readonly pool: SlotPool;
  readonly noise: TrainingNoise;
  readonly networks: readonly TrainerNetwork[];
}

interface Compiled {
  readonly program: CompiledProgram;
  recorder: Recorder | null;
}

/** Streams of noise that training does not draw from. */
const noiseStream = 130;

/** Measures the loss of held-out pictures, forward alone, with the same noise and timesteps each time; dropout is off. */
export class Validator {
  private readonly compiled = new Map<string, Compiled>();

  constructor(private readonly options: ValidatorOptions) {}

  /**
   * Each network's mean loss over its own held-out pictures, `validation_<k>`; with two networks also with both in one base, `validation_stack_<k>`. One that is not
   * finite is left out, as in a step's figures.
   *
   * @param heldOut For each network its batches; a network without any has no figures.
   * @param seed Of the noise.
   * @param signal Looked at behind each batch.
   * @throws The signal's reason.
   */
  async measure(
    heldOut: readonly (readonly TrainBatch[])[],
    seed: number,
    signal?: AbortSignal,
  ): Promise<Record<string, number>> {
    const { networks } = this.options, figures: Record<string, number> = {};
    for (const [k, batches] of heldOut.entries()) {
      if (batches.length === 0) continue;
      const { number, lora } = networks[k];
      figures[`validation_${number}`] = await this.meanLoss(k, [lora], batches, seed, signal);
      if (networks.length === 1) continue;
      const stack = networks.map((network) => network.lora);
      figures[`validation_stack_${number}`] = await this.meanLoss(k, stack, batches, seed, signal);
    }
    return Object.fromEntries(Object.entries(figures).filter(([, loss]) => Number.isFinite(loss)));
  }

  /** Frees the programs; they are compiled again when they are needed. */
  release(): void {
    for (const { program, recorder } of this.compiled.values()) {
      recorder?.dispose();
      this.options.device.release(program);
    }
    this.compiled.clear();
  }

  private async meanLoss(
    k: number,
    loras: readonly LoraNetwork[],
    batches: readonly TrainBatch[],
    seed: number,
    signal: AbortSignal | undefined,
  ): Promise<number> {
    const { noise, networks } = this.options, { number, settings } = networks[k];
    const timesteps = spreadTimesteps(noise.trainTimesteps), used: Compiled[] = [];
    for (const [index, batch] of batches.entries()) {
      const compiled = await this.compile(networks[k], loras, shapeOf(batch));
      compiled.recorder ??= compiled.program.recorder("losses", { rows: batches.length * timesteps.length });
      used.push(compiled);
      for (const [at, timestep] of timesteps.entries()) {
        const feeds = batchFeeds(batch, {
          number,
          noise,
          loss: validatedLoss(settings.loss),
          seed,
          noiseStream,
          micro: index * timesteps.length + at,
          timesteps: batch.samples.map(() => timestep),
          dropoutKeyCount: 0,
        });
        const { inputs } = compiled.program.program;
        const needed = Object.fromEntries(Object.entries(feeds).filter(([name]) => inputs.has(name)));
        compiled.program.run(needed, { record: [compiled.recorder] });
      }
      if (!signal) continue;
      await this.options.device.idle();
      if (signal.aborted) {
        this.release();
        throw signal.reason;
      }
    }
    let sum = 0, count = 0;
    for (const compiled of new Set(used)) {
      const rows = await compiled.recorder!.read();
      for (const loss of rows.flatMap((row) => Array.from(row))) {
        sum += loss;
        count++;
      }
      compiled.recorder!.dispose();
      compiled.recorder = null;
    }
    return sum / count;
  }

  private async compile(
    network: TrainerNetwork,
    loras: readonly LoraNetwork[],
    shape: BatchShape,
  ): Promise<Compiled> {
    const key = JSON.stringify([network.number, loras.length, shape]), known = this.compiled.get(key);
    if (known) return known;
    const { device, pool, noise } = this.options;
    const program = await device.compile(planValidation(network, loras, shape, noise), { pool });
    const made = { program, recorder: null };
    this.compiled.set(key, made);
    return made;
  }
}
