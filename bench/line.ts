import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { adapterLimits, Device } from "../engine/mod.ts";
import { projectFolder } from "../tools/project_files.ts";
import { timeRuns, type Timing, type Work } from "./timing.ts";

/** What was measured: lines of different programs are joined by it. */
export interface LineKey {
  readonly op: string;
  readonly shape: string;
  readonly pass: "forward" | "forward+gradient" | "step" | "sample" | "load" | "start";
  /** f32 when left out. */
  readonly dtype?: string;
}

/** The `dtype` of a line whose f16 is multiplied in f16 as well. */
export const f16Arithmetic = "f16 arithmetic";

/** One line of output: figures, or why there are none. Fields are described in bench/README.md. */
export type Line = Readonly<Record<string, string | number | boolean | null | readonly number[]>>;

/** Something to time, and what else is said of it. */
export interface Measured extends Work {
  /** Fields after the times. */
  figures(timing: Timing): Line | Promise<Line>;
}

/**
 * Measures one thing on a device of its own, so that a failure harms no other line. The device multiplies in f16 where the line's `dtype` says so.
 *
 * @param make Puts everything on the device; what it throws becomes the line's `skipped`.
 * @throws {NoAdapterError} If there is no adapter.
 */
export async function measureLine(
  key: LineKey,
  options: { seconds: number },
  make: (device: Device) => Promise<Measured>,
): Promise<Line> {
  try {
    using device = await Device.open({ f16Arithmetic: key.dtype === f16Arithmetic });
    return await measureOn(device, key, options, make);
  } catch (error) {
    // What an adapter cannot multiply in.
    if (!(error instanceof RangeError)) throw error;
    return {
      ...startOf(key),
      skipped: skippedText(error),
      adapter: (await adapterLimits()).name,
      version: await programVersion(),
    };
  }
}

function startOf({ op, shape, pass, dtype = "f32" }: LineKey): Line {
  return { peer: "dualora", op, shape, pass, dtype };
}

function skippedText(error: unknown): string {
  return String(error).split("\n")[0].slice(0, 200);
}

/** As {@linkcode measureLine}, on a device that is there already. */
export async function measureOn(
  device: Device,
  key: LineKey,
  options: { seconds: number },
  make: (device: Device) => Promise<Measured>,
): Promise<Line> {
  const start = startOf(key);
  const end = { adapter: device.facts.name, version: await programVersion() };
  try {
    const measured = await make(device);
    const timing = await timeRuns(measured, options);
    const { medianMs, minMs, cpuMs, batches, runsPerBatch } = timing;
    const times = { ms_median: medianMs, ms_min: minMs, cpu_ms: cpuMs, runs: batches, batch: runsPerBatch };
    return { ...start, ...times, ...await measured.figures(timing), ...end };
  } catch (error) {
    return { ...start, skipped: skippedText(error), ...end };
  }
}

/** A line as JSON, numbers with five digits. */
export function lineText(line: Line): string {
  return JSON.stringify(
    line,
    (name, value) => typeof value === "number" && !name.endsWith("_bytes") ? Number(value.toPrecision(5)) : value,
  );
}

/** The versions of this program and of Deno, as the lines say them. */
export async function programVersion(): Promise<string> {
  const { version } = JSON.parse(await readFile(join(projectFolder, "deno.json"), "utf8"));
  return `dualora ${version}, deno ${Deno.version.deno}`;
}
