import { join } from "node:path";
import { makeFolder } from "../../formats/write_errors.ts";
import { loadSharp } from "../../data/load_sharp.ts";
import { writeFileAtomically } from "../../formats/atomic_file.ts";
import { removeOldLeftovers } from "../../formats/atomic_folder.ts";
import type { StepRun } from "../../pipeline/mod.ts";
import { resolveSamplerName, stepLimits } from "../../models/noise/sampler.ts";
import type { PredictionType } from "../../models/noise/schedule.ts";
import { type LoadedBases, swappedBases } from "../values/bases.ts";
import { checkOptions, type OptionNames } from "../values/check_options.ts";
import type { Network } from "../values/network.ts";
import { checkPictureOptions, type PictureOptions, PictureSampler } from "../values/picture_sampler.ts";
import { localTime } from "./local_time.ts";
import { readPromptFile, type SamplePrompt } from "./prompt_file.ts";
import type { TrainingContent, TrainingMoment, TrainingOutput } from "./training_output.ts";
import { checkFileName } from "../values/file_name.ts";

/** Which pictures are made while a training runs; sd-scripts' names in brackets. */
export interface TrainingSampleOptions {
  /** Pictures are written into `sample` inside it (`--output_dir`). */
  readonly folder: string;
  /** A file of prompts, as sd-scripts has them: .txt, .toml or .json (`--sample_prompts`). */
  readonly prompts: string;
  /** Makes pictures after each so many epochs; `everySteps` then decides nothing (`--sample_every_n_epochs`). */
  readonly everyEpochs?: number;
  /** Makes pictures after each so many steps (`--sample_every_n_steps`). */
  readonly everySteps?: number;
  /** Sampler of prompts that name none; `ddim` when left out (`--sample_sampler`). */
  readonly sampler?: string;
  /** How pictures' names begin (`--output_name`, `--output_name_2`); those of the stack with network 1's and `_stack`. */
  readonly names?: { readonly network1?: string; readonly network2?: string };
}

const optionNames: OptionNames<TrainingSampleOptions> = {
  folder: true,
  prompts: true,
  everyEpochs: true,
  everySteps: true,
  sampler: true,
  names: true,
};

/**
 * Checks values before anything runs; the file of prompts is not read yet.
 *
 * @throws {TypeError} If an option is unknown, or a path or name is none.
 * @throws {RangeError} If a number is out of range, or the sampler does not exist.
 */
export function checkSamples(step: string, options: TrainingSampleOptions): void {
  checkOptions<TrainingSampleOptions>(step, options, optionNames, "samples");
  checkOptions(step, options.names ?? {}, { network1: true, network2: true }, "samples.names");
  const { folder, prompts, everyEpochs, everySteps, sampler, names = {} } = options;
  for (const [name, value] of Object.entries({ folder, prompts })) {
    if (typeof value === "string" && value !== "") continue;
    throw new TypeError(`Cannot make samples: samples.${name} is ${JSON.stringify(value)}, must be a path`);
  }
  for (const [name, value] of Object.entries({ everyEpochs, everySteps })) {
    if (value === undefined || (Number.isInteger(value) && value > 0)) continue;
    throw new RangeError(`Cannot make samples: samples.${name} is ${value}, must be a whole number above 0`);
  }
  checkPictureOptions({ width: 64, height: 64, ...(sampler === undefined ? {} : { sampler }) });
  for (const name of Object.values(names)) checkFileName(name, "make samples");
}

/** Prompts that one sampler serves. */
export interface PictureGroup {
  readonly options: PictureOptions;
  readonly prompts: readonly SamplePrompt[];
}

/**
 * The pictures that a file of prompts asks for, by what a sampler is compiled for, and what is otherwise than it says.
 *
 * @throws {PromptFileError} If the file cannot be read, or asks for what cannot be sampled.
 */
export async function planSamples(
  { prompts: file, sampler: usual = "ddim" }: TrainingSampleOptions,
): Promise<{ groups: PictureGroup[]; notes: string[] }> {
  const optionsOf = ({ width, height, steps, guidance, negativePrompt, sampler }: SamplePrompt): PictureOptions => ({
    width: side(width),
    height: side(height),
    // As sd-scripts, but never so many that the sampler fails.
    steps: Math.min(stepLimits(resolveSamplerName(sampler ?? usual)).most, Math.max(1, steps)),
    guidance,
    negativePrompt,
    sampler: sampler ?? usual,
  });
  const prompts = await readPromptFile(file, (prompt) => checkPictureOptions(optionsOf(prompt)));
  const notes: string[] = [], groups = new Map<string, SamplePrompt[]>();
  for (const [at, prompt] of prompts.entries()) {
    const options = optionsOf(prompt), key = JSON.stringify(options);
    groups.set(key, [...groups.get(key) ?? [], prompt]);
    const which = `prompt ${at + 1} of ${file}`;
    if (options.width !== prompt.width || options.height !== prompt.height) {
      notes.push(
        `${which} is ${options.width}×${options.height}, not ${prompt.width}×${prompt.height}: multiples of 8, 64 at least`,
      );
    }
    if (options.steps !== prompt.steps) {
      notes.push(
        `${which} has ${options.steps} as its number of steps, not ${prompt.steps}, which ${options.sampler} does not take`,
      );
    }
  }
  return { groups: [...groups].map(([key, prompts]) => ({ options: JSON.parse(key), prompts })), notes };
}

/** As sd-scripts rounds. */
function side(pixels: number): number {
  return Math.max(64, pixels - pixels % 8);
}

/**
 * A picture's file, as sd-scripts names it.
 *
 * @param name What comes first: the network's name and `_`, or nothing.
 * @param time As `localTime` gives it.
 * @param moment The step, or the epoch where pictures are made after epochs.
 */
export function pictureFileName(
  name: string,
  time: string,
  moment: { readonly step: number } | { readonly epoch: number },
  { place, seed }: Pick<SamplePrompt, "place" | "seed">,
): string {
  const padded = (value: number, length: number) => `${value}`.padStart(length, "0");
  const when = "step" in moment ? padded(moment.step, 6) : `e${padded(moment.epoch, 6)}`;
  return `${name}${time}_${when}_${padded(place, 2)}${seed === null ? "" : `_${seed}`}.png`;
}

/** What samples know of the training that they belong to. */
export interface SampleContext {
  readonly bases: LoadedBases;
  readonly seed: number;
  /** All networks as they are now, by number. */
  networks(content: TrainingContent): readonly (readonly [1 | 2, Network])[];
  /** What the training teaches to predict. */
  readonly predictionType: PredictionType;
  readonly run: StepRun;
}

/**
 * Makes pictures while a training runs, with each network on its own base and with both on network 1's, under sd-scripts' names. A network that is frozen is
 * pictured as well.
 */
export class SampleOutput implements TrainingOutput {
  readonly writes = "pictures";
  private constructor(
    private readonly options: TrainingSampleOptions,
    private readonly context: SampleContext,
    private readonly groups: readonly PictureGroup[],
    private readonly folder: string,
  ) {}

  /** Reads the prompts and makes the folder. */
  static async open(options: TrainingSampleOptions, context: SampleContext): Promise<SampleOutput> {
    const { groups, notes } = await planSamples(options), folder = join(options.folder, "sample");
    notes.forEach(context.run.warn);
    await makeFolder(folder);
    await removeOldLeftovers(folder);
    return new SampleOutput(options, context, groups, folder);
  }

  isDue({ step, epoch, isEpochEnd, isLast }: TrainingMoment): boolean {
    const { everyEpochs, everySteps } = this.options;
    // As in sd-scripts, an epoch that the last step cuts short counts.
    if (everyEpochs !== undefined) return (isEpochEnd || isLast) && epoch % everyEpochs === 0;
    return everySteps !== undefined && step % everySteps === 0;
  }

  async write({ step, epoch }: TrainingMoment, content: TrainingContent): Promise<void> {
    const { bases, seed, predictionType, run } = this.context, time = localTime(new Date());
    const moment = this.options.everyEpochs === undefined ? { step } : { epoch };
    for (const { options, prompts } of this.groups) {
      for (const [base, stacks] of Map.groupBy(this.stacks(content), ({ base }) => bases[`network${base}`])) {
        const own = base === bases.network1 ? bases : swappedBases(bases);
        using sampler = await PictureSampler.open(own, { ...options, predictionType });
        for (const { name, stack, shown } of stacks) {
          for (const prompt of prompts) {
            const [{ pixels, width, height }] = await sampler.sample(
              stack.map((network) => ({ network })),
              [{ prompt: prompt.prompt, seed: prompt.seed ?? seed }],
              { signal: run.signal },
            );
            const path = join(this.folder, pictureFileName(name, time, moment, prompt));
            const sharp = await loadSharp();
            const png = await sharp(pixels, { raw: { width, height, channels: 3 } }).png().toBuffer();
            await writeFileAtomically(path, [png]);
            const shows = { step, epoch, networks: shown, prompt: prompt.prompt, seed: prompt.seed ?? seed };
            run.artifact(path, { isPassing: true, shows });
          }
        }
      }
    }
  }

  /** What is pictured, how the files' names begin, and what is said of them. */
  private stacks(
    content: TrainingContent,
  ): { name: string; base: 1 | 2; stack: readonly Network[]; shown: string }[] {
    const { network1, network2 } = this.options.names ?? {}, all = this.context.networks(content);
    const first = network1 === undefined ? "" : `${network1}_`,
      second = network2 === undefined ? `${first}2_` : `${network2}_`;
    const names = { 1: first, 2: all.length === 1 && network2 === undefined ? first : second };
    const alone = all.map(([number, network]) => ({
      name: names[number],
      base: number,
      stack: [network],
      shown: `network ${number}`,
    }));
    if (all.length === 1) return alone;
    return [...alone, {
      name: `${first}stack_`,
      base: 1,
      stack: all.map(([, network]) => network),
      shown: "both networks",
    }];
  }
}
