import { basename } from "node:path";
import type { Dataset } from "../../data/dataset.ts";
import type { LoraNetwork } from "../../lora/network.ts";
import { hashJson, type StepRun } from "../../pipeline/mod.ts";
import type { EpochPhase, FreezeOptions } from "../../training/phases.ts";
import type { NetworkSettings } from "../../training/network_settings.ts";
import type { StepFigures } from "../../training/trainer.ts";
import { baseHash, openOutputs, withoutOutputs } from "../outputs/open_outputs.ts";
import { readResumed } from "../outputs/resumed_state.ts";
import { compareState, type StateFacts, type StateNetwork } from "../outputs/state_facts.ts";
import { CheckpointFolder } from "../outputs/state_folder.ts";
import { trainingMetadata } from "../outputs/training_metadata.ts";
import type { TrainingContent } from "../outputs/training_output.ts";
import type { LoadedBases, OpenedBases } from "./bases.ts";
import { couplingOptions, type OrthogonalitySetting, type StackSetting } from "./coupling_options.ts";
import type { LatentProvider } from "./latents.ts";
import { LiveLatents } from "./live_latents.ts";
import { buildNetwork, type Network } from "./network.ts";
import { type NetworkStart, startingWeights } from "./network_start.ts";
import { phaseWarnings } from "./phase_warnings.ts";
import { rememberStepTime, stepTimeKeys } from "./step_times.ts";
import { datasetOf, type NetworkData, type TrainingData } from "./training_data.ts";
import { fixedCaptions, TextOutputs, type TextSide } from "./text_outputs.ts";
import { runTraining, trainingLength, trainingNoise, type TrainingSide } from "./training_loop.ts";
import {
  networkSettings,
  type OwnTrainingOptions,
  trainingOptionNames,
  type TrainingOptions,
} from "./training_options.ts";

/** The data of one network, or an error that says which step should have read it. */
export function dataOf(data: TrainingData, number: 1 | 2): NetworkData {
  const found = data[`network${number}`];
  if (!found) throw new Error(`Cannot train network ${number}: no data were read for it`);
  return found;
}

/** One training: which networks, from where, and how. */
export interface TrainingTask {
  readonly networks: readonly NetworkTask[];
  readonly options: TrainingOptions;
  readonly freezing: FreezeOptions;
  readonly orthogonality: OrthogonalitySetting;
  readonly stack: StackSetting;
}

/** One network of a training. */
export interface NetworkTask {
  readonly number: 1 | 2;
  readonly start: NetworkStart;
  /** What this network has of its own, beside the task's options. */
  readonly own?: OwnTrainingOptions;
}

/** How one network is trained: its own options before the task's. */
export function settingsOf({ own }: NetworkTask, options: TrainingOptions): NetworkSettings {
  return networkSettings({ ...options, ...own });
}

/** Captions that can be encoded beforehand. In a stack the other network may have modules in the text encoder as well. */
export function captionsOf(side: TextSide, { networks, options, stack }: TrainingTask): string[] | null {
  const changesText = networks.some(({ start: { options: { parts } } }) => parts?.includes("text_encoder") ?? true);
  return stack !== false && changesText ? null : fixedCaptions(side, options);
}

/** Trains one network or two against each other; gives them back in the task's order. */
export async function trainNetworks(
  bases: LoadedBases,
  data: TrainingData,
  latents: LatentProvider,
  task: TrainingTask,
  run: StepRun,
): Promise<Network[]> {
  const { networks, options, freezing, orthogonality } = task;
  const { device } = bases, seed = options.seed ?? 1;
  const loras: LoraNetwork[] = [];
  using opened = await latents.open(bases);
  try {
    const sides: TrainingSide[] = [];
    for (const network of networks) {
      const { number, start } = network, base = bases[`network${number}`], tokenizer = bases[`tokenizer${number}`];
      const lora = buildNetwork(`network ${number}`, base, start.options), dataset = datasetOf(dataOf(data, number));
      loras.push(lora);
      const warn = (message: string) => run.warn(message);
      device.upload(lora.weights, await startingWeights(lora, start, { seed, stream: number, warn }));
      const captions = captionsOf({ base, lora, dataset }, task);
      const texts = captions && await TextOutputs.encode(device, { base, tokenizer }, captions, options, run);
      sides.push({ number, base, lora, settings: settingsOf(network, options), dataset, tokenizer, texts });
    }
    const length = trainingLength(sides.map(({ dataset }) => dataset), options);
    const { epochs, totalSteps } = length, facts = await stateFacts(task, sides, bases, device.facts.name);
    phaseWarnings(epochs, task).forEach(run.warn);
    const checkpoints = new CheckpointFolder(run.folder, run.warn), kept = await checkpoints.newest();
    // Of all settings only the adapter can be another here: work with other options is set aside.
    if (kept) compareState("the last checkpoint", kept.facts, facts).forEach(run.warn);
    // Before anything is opened to be written.
    const start = kept ?? await readResumed(options, facts, sides, totalSteps, run.warn);
    // From here on the named state is not needed: this training may replace it, or remove it as one of too many.
    if (start && !kept) await checkpoints.write(start);
    const metadata = await trainingMetadata(
      sides.map(({ number, base, dataset }, k) => {
        const { start: { options: built }, own } = networks[k];
        return { number, base, dataset, built, options: { ...options, ...own } };
      }),
      { epochs, totalSteps, cachesLatents: !(latents instanceof LiveLatents) },
    );
    const networksOf = ({ state, log }: TrainingContent) =>
      networks.map(({ number, start: { options: built, network }, own }, k): Network => {
        const figures = ownFigures(log, number);
        // A network that was frozen throughout is the one that came.
        if (network && figures.length === 0) return network;
        return {
          options: built,
          weights: state.networks[k].weights,
          log: [...network?.log ?? [], ...figures],
          settings: {
            ...network?.settings,
            ...withoutOutputs(options),
            ...own,
            seed,
            freezing,
            orthogonality,
            ...stackOf(task),
          },
          metadata: metadata.get(number)!,
        };
      });
    const outputs = await openOutputs(options, {
      ...length,
      bases: Object.fromEntries(sides.map(({ number, base }) => [number, base])),
      loaded: bases,
      networks: (content) => networksOf(content).map((network, k) => [networks[k].number, network] as const),
      trained: (content) =>
        networksOf(content).flatMap((network, k) =>
          network === networks[k].start.network ? [] : [[networks[k].number, network] as const]
        ),
      predictionType: trainingNoise(bases, options).predictionType,
      facts,
      from: start?.from,
      run,
    });
    const timeKey = stepTimeKeys(task, sides.map((side) => ({ ...side, hasTexts: side.texts !== null })));
    const stepTime = async (phase: EpochPhase, secondsPerStep: number) =>
      await rememberStepTime(timeKey(phase), { secondsPerStep, adapter: device.facts.name }).catch((error) =>
        run.warn(`how long a step takes cannot be kept for later runs: ${error.message}`)
      );
    const content = await runTraining(
      bases,
      sides,
      opened,
      { ...options, ...couplingOptions(task) },
      { ...freezing, orthogonality: orthogonality !== false },
      { facts, outputs, checkpoints, start, stepTime },
      run,
    );
    return networksOf(content);
  } finally {
    device.free(loras.map((lora) => lora.weights));
  }
}

/** The stack's setting, where there is one: what was kept without it stays valid. */
function stackOf({ stack }: TrainingTask) {
  return stack === false ? {} : { stack };
}

/**
 * What checkpoints and states of a training belong to.
 *
 * @param adapter Name of the device; null where none is asked yet.
 */
export async function stateFacts(
  task: TrainingTask,
  sides: readonly Pick<TrainingSide, "number" | "base" | "lora" | "dataset">[],
  { merged }: OpenedBases,
  adapter: string | null,
): Promise<StateFacts> {
  const { networks, options, freezing, orthogonality } = task, found: StateNetwork[] = [];
  for (const [k, { number, base, lora }] of sides.entries()) {
    const { rank, convRank = null, parts = ["text_encoder", "unet"] } = networks[k].start.options;
    const { optimizer = "AdamW" } = { ...options, ...networks[k].own };
    const modules = hashJson(lora.tensors.map(({ name, shape }) => [name, shape]));
    const { network, options: built } = networks[k].start,
      { weights: _, ...known } = network ?? { log: [], settings: {} };
    const before = { ...known, options: built };
    found.push({ number, base: await baseHash(base, merged), rank, convRank, parts, modules, optimizer, before });
  }
  const settings = Object.fromEntries(
    networks.map(({ number, start: { options: built }, own }, k) => {
      const { rank: _r, convRank: _c, parts: _p, modules: _m, ...rest } = built;
      const { precision, f16Arithmetic, clipSkip } = sides[k].base.options, data = dataOfState(sides[k].dataset);
      return [`network${number}`, { ...rest, precision, f16Arithmetic, clipSkip, ...own, data }];
    }),
  );
  // A step's options are those of its network too, which stand above.
  const shared = Object.entries(withoutOutputs(options)).filter(([name]) => name in trainingOptionNames);
  const whole = { ...Object.fromEntries(shared), ...settings, freezing, orthogonality, ...stackOf(task), adapter };
  // As it is read back.
  return { networks: found, settings: JSON.parse(JSON.stringify(whole)) };
}

/** What a state knows of a data set: enough to tell that it is another one. Pictures are known by name, size and caption. */
function dataOfState({ parts, images, batchesPerEpoch, seed }: Dataset): Record<string, unknown> {
  const pictures = images.map((
    { path, caption, repeats, bucket },
  ) => [basename(path), caption, repeats, bucket.width, bucket.height]);
  const sizes = parts.map(({ source: { settings: { resolution } } }) =>
    resolution && [resolution.width, resolution.height]
  );
  return {
    ...{ images: images.length, batchesPerEpoch, seed, pictures: hashJson(pictures) },
    ...{ batchSize: parts.map(({ source }) => source.settings.batchSize), resolution: sizes },
  };
}

/** The steps in which a network trained, with its own figures and the terms that both share. */
function ownFigures(log: readonly StepFigures[], number: 1 | 2): StepFigures[] {
  const other = number === 1 ? "_2" : "_1";
  return log.filter(({ values }) => `norm_${number}` in values).map((figures) => ({
    ...figures,
    values: Object.fromEntries(Object.entries(figures.values).filter(([name]) => !name.endsWith(other))),
  }));
}
