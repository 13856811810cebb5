import type { BatchShape } from "./denoising.ts";
import { plan, type PlanOptions, pooledBytes, type Program, type Variable } from "../engine/mod.ts";
import type { TrainingNoise } from "./feeds.ts";
import { checkPlaces } from "../lora/orthonormal_down.ts";
import { makeUpdater, type NetworkUpdater } from "./network_settings.ts";
import type { EpochPhase } from "./phases.ts";
import { haltFlag, type StepGraph, type StepNetwork, type StepOptions, traceStep } from "./step_graph.ts";
import type { TrainerNetwork, TrainerOptions } from "./trainer.ts";
import { planValidation } from "./validation.ts";

/** A network alone trains always, network 2 as well; network 1 when the phase says so. */
export function trains(networks: readonly TrainerNetwork[], k: number, phase: EpochPhase): boolean {
  return networks.length === 1 || k === 1 || phase.network1Trains;
}

/** What a step's graph is traced from. */
export interface TraceRequest {
  readonly networks: readonly TrainerNetwork[];
  readonly updaters: readonly NetworkUpdater[];
  readonly halted: Variable;
  readonly noise: Pick<TrainingNoise, "predictionType">;
  readonly shapes: readonly BatchShape[];
  readonly phase: EpochPhase;
  readonly accumulation: StepOptions["accumulation"];
  readonly options: Omit<TrainerOptions, "seed" | "totalSteps">;
}

/**
 * Traces one micro-batch of a training.
 *
 * @throws {RangeError} If the networks cannot be kept apart as is asked: see `checkPlaces`, `selectHooks`.
 */
export function traceTraining(request: TraceRequest): StepGraph {
  const { networks, updaters, shapes, phase, noise, accumulation, halted, options } = request;
  const { form = "clean", textCoefficient = 1, unetCoefficient = 1, divergenceCoefficient = 0, textMask = "1-I" } =
    options;
  const { hooks, downCoefficient = 0, upCoefficient = 0, stack } = options;
  if (networks.length === 2) checkPlaces(networks[0].lora, networks[1].lora);
  const step: StepNetwork[] = networks.map(({ number, base, lora }, k) => ({
    number,
    base,
    lora,
    ...updaters[k],
    shape: shapes[k],
    trains: trains(networks, k, phase),
  }));
  return traceStep(step, {
    form,
    orthogonality: {
      ...{ on: phase.orthogonalityOn, textCoefficient, unetCoefficient, divergenceCoefficient, textMask },
      ...{ downCoefficient, upCoefficient, ...(hooks ? { hooks } : {}) },
    },
    ...(stack && networks.length === 2 ? { stack } : {}),
    vParameterization: noise.predictionType === "v_prediction",
    accumulation,
    noise: "drawn",
    allFigures: false,
    gradientCheckpointing: options.gradientCheckpointing ?? false,
    activations: options.activations ?? "f32",
    halted,
  });
}

/** How a step's graph is planned. */
export type StepPlan = Pick<PlanOptions, "fused">;

/** The program of a step's graph. */
export function planned({ packedFigures, effects }: StepGraph, options: StepPlan = {}): Program {
  return plan({ outputs: { figures: packedFigures.tensor }, effects, ...options });
}

/** Steps between two readbacks of the figures. */
export function readEvery({ readEvery = 10 }: Pick<TrainerOptions, "readEvery">): number {
  return readEvery;
}

/** Rows of figures that are kept on the device for a program that runs `count` times a step. */
export function recorderRows(options: Pick<TrainerOptions, "readEvery">, count: number): number {
  return (readEvery(options) + 1) * count;
}

/** Plans the program of one micro-batch, without a GPU. */
export function planStep(
  networks: readonly TrainerNetwork[],
  noise: TraceRequest["noise"],
  shapes: readonly BatchShape[],
  phase: EpochPhase,
  accumulation: StepOptions["accumulation"],
  options: TraceRequest["options"],
  stepPlan: StepPlan = {},
): Program {
  const updaters = networks.map(({ lora, settings }) => makeUpdater(lora, settings)), halted = haltFlag();
  const graph = traceTraining({ networks, updaters, halted, noise, shapes, phase, accumulation, options });
  return planned(graph, stepPlan);
}

/** One kind of micro-batch that a training has a program for. */
export interface MicroBatchKind {
  /** Of each network's batch. */
  readonly shapes: readonly BatchShape[];
  readonly accumulation: StepOptions["accumulation"];
}

/** A phase of a training as it is planned. */
export interface PlannedPhase {
  /** In the order of the kinds of micro-batches; then those that measure held-out pictures. */
  readonly programs: readonly Program[];
  /** What all of it takes on the device: slots that the programs share, variables, and figures that wait to be read. */
  readonly peakBytes: number;
}

/**
 * Plans all programs of a phase, in which the same networks train, without a GPU.
 *
 * @param resident Variables that lie on the device besides, whether programs use them or not: base models' weights.
 * @param heldOut For each network the sizes of its held-out batches. What waits to be read of their losses is not counted: four numbers a picture.
 */
export function planPhase(
  networks: readonly TrainerNetwork[],
  noise: TraceRequest["noise"],
  kinds: readonly MicroBatchKind[],
  phase: EpochPhase,
  options: TraceRequest["options"],
  resident: readonly Variable[] = [],
  heldOut: readonly (readonly BatchShape[])[] = [],
): PlannedPhase {
  const updaters = networks.map(({ lora, settings }) => makeUpdater(lora, settings)), halted = haltFlag();
  const programs = kinds.map((kind) =>
    planned(traceTraining({ networks, updaters, halted, noise, phase, options, ...kind }))
  );
  const recorders = programs.map((program, i) =>
    program.outputs.get("figures")!.location.sizeBytes * recorderRows(options, kinds[i].accumulation.count)
  );
  programs.push(...networks.flatMap((network, k) => {
    const stacks = networks.length === 1 ? [[network]] : [[network], networks];
    return (heldOut[k] ?? []).flatMap((shape) =>
      stacks.map((stack) => planValidation(network, stack.map(({ lora }) => lora), shape, noise))
    );
  }));
  const kept = [...networks.map(({ lora }) => lora.weights), ...resident];
  return { programs, peakBytes: pooledBytes(programs, kept) + recorders.reduce((sum, bytes) => sum + bytes, 0) };
}
