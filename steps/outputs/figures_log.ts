import type { StepFigures } from "../../training/trainer.ts";
import { textIfThere } from "./text_file.ts";

/** Name of the file in a log's folder that has each optimizer step's figures as a line of JSON. */
export const figuresLogName = "figures.jsonl";

/**
 * Reads a log's whole lines: the last one of a run that is at work, or was killed, may be a part. None where there is no such file.
 *
 * @returns Steps and epochs count from 0, as networks keep them; in the file they count from 1. A figure that was not finite is NaN.
 * @throws {SyntaxError} If a line is no JSON, or has no step and epoch: the error names the file and the line.
 */
export async function readFiguresLog(path: string): Promise<StepFigures[]> {
  const text = await textIfThere(path) ?? "";
  return text.split("\n").slice(0, -1).map((line, at) => {
    const fail = (found: string, cause?: unknown) =>
      new SyntaxError(`Cannot read ${path}, line ${at + 1}: it is no ${found}; remove the line`, { cause });
    let row: Record<string, unknown>;
    try {
      row = Object(JSON.parse(line));
    } catch (cause) {
      throw fail("JSON", cause);
    }
    const { step, epoch, ...values } = row;
    if (typeof step !== "number" || typeof epoch !== "number") throw fail("step's figures");
    const figures = Object.entries(values).map(([name, value]) => [name, typeof value === "number" ? value : NaN]);
    return { step: step - 1, epoch: epoch - 1, values: Object.fromEntries(figures) };
  });
}

/**
 * Sorts logs' folders into the order in which they were begun: `<prefix><time>`, with `_2` behind it for another start in the same second. Null for other names.
 *
 * @example
 * ```ts
 * import { ok } from "node:assert/strict";
 * ok(logOrder("a 20260101000000_2")! < logOrder("20260101000000_10")!);
 * ```
 */
export function logOrder(folder: string): string | null {
  const [, time, count = "1"] = /(\d{14})(?:_(\d+))?$/.exec(folder) ?? [];
  return time === undefined ? null : time + count.padStart(6, "0");
}

/** Tells what logs have gained since an earlier step: a network that goes on, or is frozen, brings the figures of earlier steps along. */
export class LogHistory {
  readonly #seen: string[][] = [];

  /** What none of the logs before, in the order of the steps, has had. */
  gained(log: readonly StepFigures[]): readonly StepFigures[] {
    const rows = log.map((row) => JSON.stringify(row));
    const before = this.#seen.filter((seen) => seen.length <= rows.length && seen.every((row, at) => row === rows[at]));
    this.#seen.push(rows);
    return log.slice(Math.max(0, ...before.map(({ length }) => length)));
  }
}
