import { variableBytes } from "../../engine/mod.ts";
import { makeUpdater } from "../../training/network_settings.ts";
import { optimizerNotes } from "../../training/optimizers/optimizers.ts";
import type { TrainerNetwork } from "../../training/trainer.ts";
import { describeDataset } from "../../data/describe_dataset.ts";
import { type EarlierStart, type Plan, sizeText } from "../../pipeline/mod.ts";
import { epochPhase } from "../../training/phases.ts";
import { planPhase } from "../../training/training_program.ts";
import { outputLines } from "../outputs/open_outputs.ts";
import { needsState, readResumed } from "../outputs/resumed_state.ts";
import { planSampleMemory } from "../outputs/sample_memory.ts";
import { trainingDiskUse } from "../outputs/disk_use.ts";
import { runTable, runTableLines } from "../report/run_table.ts";
import type { OpenedBases } from "./bases.ts";
import { checkOnAdapter } from "./check_adapter.ts";
import { couplingOptions, type OrthogonalitySetting } from "./coupling_options.ts";
import type { PlannedLatents } from "./latents.ts";
import { heldOutShapes, microBatchKinds } from "./micro_batch_kinds.ts";
import { activationFormat } from "./mixed_precision.ts";
import { buildNetwork } from "./network.ts";
import { captionsOf, dataOf, settingsOf, stateFacts, type TrainingTask } from "./network_training.ts";
import { checkStart } from "./network_start.ts";
import { phaseWarnings } from "./phase_warnings.ts";
import { estimatedTime, stepTimeKeys } from "./step_times.ts";
import { datasetOf, type TrainingData } from "./training_data.ts";
import { trainingLength, trainingNoise } from "./training_loop.ts";

/**
 * Figures and sentences for `describe()`: steps, parameters, bytes; no GPU is asked.
 *
 * @param earlier A start of the same training before.
 */
export async function planTraining(
  bases: OpenedBases,
  data: TrainingData,
  latents: PlannedLatents,
  task: TrainingTask,
  earlier: EarlierStart | undefined,
): Promise<Plan> {
  const { networks, options, freezing, orthogonality } = task;
  const sides = networks.map((network) => {
    const { number, start } = network, base = bases[`network${number}`];
    const lora = buildNetwork(`network ${number}`, base, start.options);
    return { number, base, lora, settings: settingsOf(network, options), dataset: datasetOf(dataOf(data, number)) };
  });
  for (const [k, { lora }] of sides.entries()) await checkStart(lora, networks[k].start.weights);
  const datasets = sides.map(({ dataset }) => dataset);
  const { stepsPerEpoch, totalSteps, epochs } = trainingLength(datasets, options);
  // A run says what is otherwise than it was, once the device is known.
  if (await needsState(options, earlier)) {
    await readResumed(options, await stateFacts(task, sides, bases, null), sides, totalSteps, () => {});
  }
  const phases = Array.from({ length: epochs }, (_, epoch) => epochPhase(epoch, freezing));
  const captions = sides.map((side) => captionsOf(side, task));
  const contextSizes = sides.map(({ base }, k) => captions[k] ? base.textConfig.size : undefined);
  const { kinds, count } = microBatchKinds(datasets, options, contextSizes);
  const resident = [...new Set([bases.network1, bases.network2])].flatMap((base) => base.variables);
  const distinctPhases = new Set(
    phases.map(({ network1Trains, orthogonalityOn }) =>
      JSON.stringify({ network1Trains, orthogonalityOn: orthogonalityOn && orthogonality !== false })
    ),
  );
  const planned = [...distinctPhases].map((phase) =>
    planPhase(
      sides,
      trainingNoise(bases, options),
      kinds,
      JSON.parse(phase),
      { ...options, ...couplingOptions(task), activations: activationFormat(bases, options) },
      resident,
      datasets.map((dataset) => heldOutShapes(dataset, options)),
    )
  );
  const trained = sides.filter(({ number }) =>
    networks.length === 1 || number === 2 || phases.some((phase) => phase.network1Trains)
  );
  const built = networks.map(({ start: { options } }) => ({ options }));
  const alone = sides.map(({ number }, k) => ({ base: number, networks: [built[k]] }));
  const stacks = networks.length === 1 ? alone : [...alone, { base: 1 as const, networks: built }];
  const { predictionType } = trainingNoise(bases, options);
  const pictures = options.samples && await planSampleMemory(bases, options.samples, predictionType, stacks);
  const disk = await trainingDiskUse(options, {
    ...{ epochs, stepsPerEpoch, totalSteps, stacks: stacks.length },
    networks: sides.map((side) => ({ ...side, trains: trained.includes(side), optimizerBytes: optimizerBytes(side) })),
    ...pictures ? { groups: pictures.groups } : {},
  });
  // Pictures are made, and others encoded, while all that trains stays on the device.
  const besides = (pictures?.peakBytes ?? 0) + (latents.gpuBytes ?? 0);
  const peakGpuBytes = Math.max(...planned.map(({ peakBytes }) => peakBytes)) + besides;
  const timeKey = stepTimeKeys(
    task,
    sides.map(({ base }, k) => ({ base, dataset: datasets[k], hasTexts: captions[k] !== null })),
  );
  const table = runTable(datasets.map(describeDataset), {
    ...{ stepsPerEpoch, epochs, totalSteps, peakGpuBytes },
    time: await estimatedTime(
      phases.map(({ network1Trains, orthogonalityOn }, epoch) => ({
        key: timeKey({ network1Trains, orthogonalityOn: orthogonalityOn && orthogonality !== false }),
        steps: Math.min(stepsPerEpoch, totalSteps - epoch * stepsPerEpoch),
      })),
    ),
    diskBytes: disk.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    accumulationSteps: options.accumulationSteps ?? 1,
  });
  return {
    figures: {
      stepsPerEpoch,
      epochs,
      totalSteps,
      parametersTrained: trained.reduce((sum, { lora }) => sum + lora.parameterCount, 0),
      peakGpuBytes,
    },
    lines: [
      ...runTableLines(table, datasets.map(({ name }) => name)),
      ...networks.length === 1 ? [] : [phaseText(phases, orthogonality)],
      ...phaseWarnings(epochs, task),
      ...options.zeroTerminalSnr && predictionType !== "v_prediction"
        ? ["zeroTerminalSnr without vParameterization: at the last timestep there is nothing but the noise to predict"]
        : [],
      ...trained.flatMap(({ number, settings }) =>
        optimizerNotes(settings.optimizer ?? {}).map((note) => `network ${number}: ${note}`)
      ),
      ...captions.flatMap((known, k) =>
        known ? [`the text encoder reads ${known.length} captions of ${datasets[k].name} once, before training`] : []
      ),
      ...outputLines(options, { epochs, totalSteps }),
      ...pictures ? [`making these pictures takes ${sizeText(pictures.peakBytes)} of the memory`] : [],
      ...count > kinds.length ? [`peak gpu is of the ${kinds.length} largest of ${count} kinds of micro-batches`] : [],
    ],
    disk,
    check: () =>
      checkOnAdapter([...planned.flatMap(({ programs }) => programs), ...pictures?.programs ?? []], peakGpuBytes),
  };
}

/** Bytes of the state that a network's optimizer keeps. */
function optimizerBytes({ lora, settings }: TrainerNetwork): number {
  return variableBytes(Object.values(makeUpdater(lora, settings).optimizer.state));
}

function phaseText(
  phases: readonly { network1Trains: boolean; orthogonalityOn: boolean }[],
  orthogonality: OrthogonalitySetting,
): string {
  const count = (of: (phase: typeof phases[number]) => boolean) => phases.filter(of).length;
  const on = orthogonality === false ? 0 : count((phase) => phase.orthogonalityOn);
  return `network 1 trains in ${
    count((phase) => phase.network1Trains)
  } of ${phases.length} epochs; orthogonality is on in ${on}`;
}
