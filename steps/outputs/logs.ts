import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder } from "../../formats/write_errors.ts";
import { GrowingFile } from "../../formats/growing_file.ts";
import { EventFile } from "../../formats/tensorboard/event_file.ts";
import type { Scalar, ScalarEvent } from "../../formats/tensorboard/event.ts";
import type { StepRun } from "../../pipeline/mod.ts";
import type { StepFigures } from "../../training/trainer.ts";
import { checkOptions, type OptionNames } from "../values/check_options.ts";
import { figuresLogName } from "./figures_log.ts";
import { localTime } from "./local_time.ts";
import type { TrainingOutput } from "./training_output.ts";
import { checkFileName, isPath } from "../values/file_name.ts";

/** Where a training's figures are logged; sd-scripts' and the original's names in brackets. */
export interface LogOptions {
  /** Folder of logs, in which each start of a training makes a folder of its own (`--logging_dir`). */
  readonly folder: string;
  /** Network 2's; `folder` when left out (`--logging_dir_2`). */
  readonly folder2?: string;
  /** Stands before the time in the folder's name (`--log_prefix`). */
  readonly prefix?: string;
  /** Network 2's; `prefix` when left out (`--log_prefix_2`). */
  readonly prefix2?: string;
  /** Folder of network 1's curves inside, network 2's has `_2` behind it; `network_train` when left out (`--log_tracker_name`). */
  readonly name?: string;
}

const optionNames: OptionNames<LogOptions> = { folder: true, folder2: true, prefix: true, prefix2: true, name: true };

/**
 * Checks values before anything runs.
 *
 * @throws {TypeError} If an option is unknown, or no path, or would lead out of its folder.
 */
export function checkLogs(step: string, options: LogOptions): void {
  checkOptions<LogOptions>(step, options, optionNames, "logs");
  const { folder, folder2 = folder, prefix = "", prefix2 = prefix, name = "network_train" } = options;
  for (const [option, value] of Object.entries({ folder, folder2 })) {
    if (isPath(value)) continue;
    throw new TypeError(`Cannot write logs: logs.${option} is ${JSON.stringify(value)}, must be a path`);
  }
  for (const each of [`${prefix}0`, `${prefix2}0`, name]) checkFileName(each, "write logs");
}

/** Curves by the figures that they show, the network's number left out; sd-scripts' names where it has them. */
const tags: Readonly<Record<string, string>> = {
  loss: "loss/current",
  mse: "loss/mse",
  orth_te: "loss/orth_te",
  orth_unet: "loss/orth_unet",
  kld_te: "loss/kld_te",
  kld_unet: "loss/kld_unet",
  validation: "loss/validation",
  validation_stack: "loss/validation_stack",
  norm: "norm/gradient",
  norm_given: "norm/gradient_given",
  learning_rate: "lr/own",
  learning_rate_text_encoder: "lr/textencoder",
  learning_rate_unet: "lr/unet",
  keys_scaled: "max_norm/keys_scaled",
  average_key_norm: "max_norm/average_key_norm",
  max_key_norm: "max_norm/max_key_norm",
};

/** What both networks share, by their figures' names. */
const shared = ["orth_te", "orth_unet", "kld_te", "kld_unet"];

/** The scalars of one network in one step; none where it did not train. */
export function scalarsOf({ values }: StepFigures, number: 1 | 2): Scalar[] {
  const own = new Map(
    Object.entries(values).flatMap(([name, value]) => {
      if (shared.includes(name)) return [[name, value] as const];
      return name.endsWith(`_${number}`) ? [[name.slice(0, -2), value] as const] : [];
    }),
  );
  if (!own.has("loss")) return [];
  const found = [...own].flatMap(([name, value]) => name in tags ? [{ tag: tags[name], value }] : []);
  // D-adaptive optimizers: the distance times the rate, under sd-scripts' name.
  const distance = own.get("d"), rate = own.get("learning_rate_unet") ?? own.get("learning_rate_text_encoder");
  if (distance !== undefined && rate !== undefined) found.push({ tag: "lr/d*lr", value: distance * rate });
  return found;
}

/** What logs know of the training that they belong to. */
export interface LogContext {
  readonly numbers: readonly (1 | 2)[];
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  readonly run: StepRun;
}

/** One network's curves. */
interface Curves {
  readonly number: 1 | 2;
  readonly file: EventFile;
  /** Losses of the last epoch's length. */
  readonly losses: number[];
}

/**
 * Writes figures for TensorBoard, each network into a folder of its own under the same names, so that the two are drawn over each other; and as lines of JSON
 * beside. A training that goes on begins new files, with all that was before in them.
 */
export class LogOutput implements TrainingOutput {
  readonly writes = null;
  private constructor(
    private readonly context: LogContext,
    private readonly lines: GrowingFile,
    private readonly curves: readonly Curves[],
  ) {}

  /** Makes the folders and begins the files. */
  static async open(options: LogOptions, context: LogContext): Promise<LogOutput> {
    const { folder, folder2 = folder, prefix = "", prefix2 = prefix, name = "network_train" } = options;
    const now = Date.now() / 1000, time = localTime(new Date(now * 1000)), curves: Curves[] = [];
    const taken = new Set(await Promise.all([...new Set([folder, folder2])].map(namesIn)).then((all) => all.flat()));
    // A run that is started again in the same second.
    let start = time;
    for (let at = 2; taken.has(prefix + start) || taken.has(prefix2 + start); at++) start = `${time}_${at}`;
    const own = { 1: join(folder, prefix + start), 2: join(folder2, prefix2 + start) };
    for (const [k, number] of context.numbers.entries()) {
      const place = join(own[number], k === 0 ? name : `${name}_${number}`);
      await makeFolder(place);
      const file = await EventFile.create(join(place, `events.out.tfevents.${Math.floor(now)}.dualora.0`), now);
      curves.push({ number, file, losses: [] });
      context.run.artifact(place, { isPassing: true });
    }
    const lines = await GrowingFile.create(join(own[context.numbers[0]], figuresLogName), new Uint8Array());
    return new LogOutput(context, lines, curves);
  }

  async figures(figures: readonly StepFigures[]): Promise<void> {
    const lines = figures.map(({ step, epoch, values }) =>
      `${JSON.stringify({ step: step + 1, epoch: epoch + 1, ...values })}\n`
    );
    await this.lines.append(new TextEncoder().encode(lines.join("")));
    const wallTime = Date.now() / 1000;
    for (const curves of this.curves) {
      await curves.file.append(figures.flatMap((each) => this.eventsOf(curves, each, wallTime)));
    }
  }

  private eventsOf({ number, losses }: Curves, figures: StepFigures, wallTime: number): ScalarEvent[] {
    const { stepsPerEpoch, totalSteps } = this.context, step = figures.step + 1, scalars = scalarsOf(figures, number);
    if (scalars.length === 0) return [];
    // As sd-scripts: the mean over the steps of an epoch, which move on with each step.
    losses.push(figures.values[`loss_${number}`]);
    if (losses.length > stepsPerEpoch) losses.shift();
    const average = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
    const events = [{ wallTime, step, scalars: [...scalars, { tag: "loss/average", value: average }] }];
    if (step % stepsPerEpoch !== 0 && step !== totalSteps) return events;
    // Counted in epochs there.
    return [...events, { wallTime, step: figures.epoch + 1, scalars: [{ tag: "loss/epoch", value: average }] }];
  }

  async close(): Promise<void> {
    for (const { file } of [{ file: this.lines }, ...this.curves]) await file.close();
  }
}

async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch((error) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
}
