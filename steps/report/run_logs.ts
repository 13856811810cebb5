import { readdir } from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import { isMissing } from "../../formats/plain_file.ts";
import type { StepFigures } from "../../training/trainer.ts";
import { figuresLogName, LogHistory, logOrder, readFiguresLog } from "../outputs/figures_log.ts";
import { readPlainText } from "../outputs/text_file.ts";
import { isLog } from "../outputs/state_manifest.ts";
import type { Network } from "../values/network.ts";
import type { ReportTraining } from "./report.ts";

/**
 * The curves of all trainings that left some in a folder, wherever in it: of networks that runs keep, in the order of their recipes' steps, then of logs whose training is not
 * among them, in the order in which they were begun. Of a training that went on, which has a log for each start, the last start's.
 *
 * @throws {Error} If the folder is not there, or has neither.
 * @throws {SyntaxError} If a file of it is no JSON.
 * @throws {TypeError} If a network in it has no log.
 */
export async function readRunLogs(folder: string): Promise<ReportTraining[]> {
  let names: string[];
  try {
    names = (await readdir(folder, { recursive: true })).map((name) => name.split(sep).join("/")).toSorted();
  } catch (error) {
    if (!isMissing(error as NodeJS.ErrnoException)) throw error;
    throw new Error(`Cannot read the logs of ${folder}: there is no such folder; name a run's folder, or its logs'`, {
      cause: error,
    });
  }
  const kept = await keptTrainings(folder, names), logged = await loggedTrainings(folder, names);
  const found = [...kept, ...logged.filter((training) => !kept.some((other) => isSame(training, other)))];
  if (found.length > 0) return found;
  throw new Error(
    `Cannot read the logs of ${folder}: it has no finished training, and no ${figuresLogName} with figures; name the folder of a run, or the one of --logging_dir`,
  );
}

/** The curves of networks 1 and 2 that were trained in this recipe; none of one that was loaded. */
export function networkCurves(networks: readonly Pick<Network, "log" | "settings">[]): ReportTraining[] {
  return networks.flatMap(({ log, settings }, k) =>
    log.length === 0 ? [] : [training(`network ${k + 1}`, k === 0 ? 1 : 2, log, settings.orthogonality !== false)]
  );
}

async function keptTrainings(folder: string, names: readonly string[]): Promise<ReportTraining[]> {
  const trained: ReportTraining[] = [], history = new LogHistory();
  for (const name of names) {
    const found = name.match(/(?:^|\/)steps\/\d+-([^/]+)\/product\/(\w+)\/network\.json$/);
    if (!found) continue;
    const path = join(folder, name), [, step, network] = found, number = network.startsWith("network2") ? 2 : 1;
    const { log, settings } = await readNetwork(path), own = history.gained(log);
    if (own.length > 0) {
      trained.push(training(`${step}: ${network}`, number, own, settings.orthogonality !== false));
    }
  }
  return trained;
}

async function readNetwork(path: string): Promise<Pick<Network, "log" | "settings">> {
  let content: Partial<Network>;
  try {
    content = Object(JSON.parse(await readPlainText(path)));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new SyntaxError(`Cannot read the logs in ${path}: ${error.message}`, { cause: error });
  }
  const { log, settings = {} } = content;
  if (isLog(log)) return { log, settings };
  throw new TypeError(`Cannot read the logs in ${path}: its log is no list of steps' figures`);
}

async function loggedTrainings(folder: string, names: readonly string[]): Promise<ReportTraining[]> {
  const logs = names.filter((name) => basename(name) === figuresLogName).map((name) => {
    const start = basename(dirname(join(folder, name)));
    return { path: join(folder, name), start, order: logOrder(start) ?? "" };
  }).toSorted((a, b) => a.order < b.order ? -1 : Number(a.order > b.order));
  const trained: ReportTraining[] = [];
  for (const { path, start } of logs) {
    const log = await readFiguresLog(path);
    for (const number of [1, 2] as const) {
      const own = log.filter(({ values }) => `loss_${number}` in values);
      if (own.length === 0) continue;
      const found = training(`${start}: network ${number}`, number, own, true);
      // A training that goes on writes a new log, with all that was before in it.
      const before = trained.findIndex((other) => isSame(found, other));
      if (before >= 0) trained.splice(before, 1);
      trained.push(found);
    }
  }
  return trained;
}

/** Steps at a log's beginning by which it is told from others: trainings that differ in a coefficient alone have the same first loss, not the same ten. */
const tellingSteps = 10;

/** Whether two are of one training, as far as both go: starts of one begin with the same losses, to the bit. */
function isSame(one: ReportTraining, other: ReportTraining): boolean {
  if (one.network !== other.network) return false;
  const loss = `loss_${one.network}`, others = new Map(other.steps.map(({ step, values }) => [step, values[loss]]));
  const common = one.steps.slice(0, tellingSteps).filter(({ step }) => others.has(step));
  return common.length > 0 && common.every(({ step, values }) => Object.is(values[loss], others.get(step)));
}

function training(name: string, network: 1 | 2, log: readonly StepFigures[], isOn: boolean): ReportTraining {
  const isCoupled = log.some(({ values }) => "orth_unet" in values || "orth_te" in values);
  return { name, network, orthogonality: isCoupled && isOn, steps: log };
}
