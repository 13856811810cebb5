import { readdir, readFile } from "node:fs/promises";
import { join, sep } from "node:path";
import type { StepFigures } from "../../training/trainer.ts";
import type { Network } from "../values/network.ts";
import type { ReportTraining } from "./report.ts";

/**
 * The curves that a training left: of the networks kept in a run folder, else of the newest `figures.jsonl` of logs; wherever in the folder they are.
 *
 * @throws {Error} If the folder is not there, or has neither.
 * @throws {SyntaxError} If a file of it is no JSON.
 */
export async function readRunLogs(folder: string): Promise<ReportTraining[]> {
  let names: string[];
  try {
    names = (await readdir(folder, { recursive: true })).map((name) => name.split(sep).join("/")).toSorted();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT" && code !== "ENOTDIR") throw error;
    throw new Error(`Cannot read the logs of ${folder}: there is no such folder; name a run's folder, or its logs'`, {
      cause: error,
    });
  }
  const kept = names.flatMap((name) => {
    const found = name.match(/(?:^|\/)steps\/\d+-([^/]+)\/product\/(\w+)\/network\.json$/);
    return found ? [{ path: join(folder, name), step: found[1], network: found[2] }] : [];
  });
  const trained: ReportTraining[] = [], seen = new Set<string>();
  for (const { path, step, network } of kept) {
    const { log, settings }: Network = await readJson(path, (text) => JSON.parse(text));
    const number = network.startsWith("network2") ? 2 : 1, content = JSON.stringify([number, log]);
    // A later step hands a network on as it was, its log as well.
    if (log.length === 0 || seen.has(content)) continue;
    seen.add(content);
    trained.push(training(`${step}: ${network}`, number, log, settings.orthogonality !== false));
  }
  if (trained.length > 0) return trained;
  // The folders' names begin with the time that they were made at.
  const newest = names.findLast((name) => /(?:^|\/)figures\.jsonl$/.test(name));
  if (newest === undefined) {
    throw new Error(
      `Cannot read the logs of ${folder}: it has no finished training and no figures.jsonl; name the folder of a run, or the one of --logging_dir`,
    );
  }
  const log = await readJson(join(folder, newest), (text) =>
    text.trim().split("\n").map((line): StepFigures => {
      // Files count from 1.
      const { step, epoch, ...values } = JSON.parse(line);
      return { step: step - 1, epoch: epoch - 1, values };
    }));
  const numbers = ([1, 2] as const).filter((number) => log.some(({ values }) => `loss_${number}` in values));
  return numbers.map((number) => training(`network ${number}`, number, log, true));
}

/** The curves of networks 1 and 2 that were trained in this recipe; none of one that was loaded. */
export function networkCurves(networks: readonly Pick<Network, "log" | "settings">[]): ReportTraining[] {
  return networks.flatMap(({ log, settings }, k) =>
    log.length === 0 ? [] : [training(`network ${k + 1}`, k === 0 ? 1 : 2, log, settings.orthogonality !== false)]
  );
}

function training(name: string, network: 1 | 2, log: readonly StepFigures[], isOn: boolean): ReportTraining {
  const isCoupled = log.some(({ values }) => "orth_unet" in values || "orth_te" in values);
  return { name, network, orthogonality: isCoupled && isOn, steps: log };
}

async function readJson<T>(path: string, read: (text: string) => T): Promise<T> {
  try {
    return read(await readFile(path, "utf8"));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new SyntaxError(`Cannot read the logs in ${path}: ${error.message}`, { cause: error });
  }
}
