/**
 * Measures how a base model is loaded, and prints a JSON line: `deno task bench:loading <folder or file> [--precision=f16] [--config=folder]`.
 *
 * Host memory is what the process has beside the device's buffers, which on a CPU adapter are in the same memory; a second thread looks at
 * it every millisecond.
 *
 * @module
 */
import { basename } from "node:path";
import { cpuUsage } from "node:process";
import { Option } from "@commander-js/extra-typings";
import { taskCommand } from "../cli/task_command.ts";
import { Device } from "../engine/mod.ts";
import { BaseModel } from "../models/base_model.ts";
import { openCheckpoint } from "../models/checkpoint/checkpoint.ts";
import { toyFolder } from "./bases.ts";
import { type Line, type LineKey, programVersion } from "./line.ts";

/** What a load took. */
export interface LoadingFigures {
  readonly seconds: number;
  /** CPU time of the process, all threads; on a CPU adapter the driver's, too. */
  readonly cpuSeconds: number;
  /** Bytes of weights on the device. */
  readonly weightBytes: number;
  /** The most that the process had beside the device's buffers, and what it had before. */
  readonly peakHostBytes: number;
  readonly startHostBytes: number;
  readonly adapter: string;
}

/**
 * Loads a base model's text encoder and UNet, as a recipe does.
 *
 * @param name As `openCheckpoint` takes it.
 * @param options.onBytes Hears how far it is.
 */
export async function measureLoading(
  name: string,
  { precision, config, onBytes }: {
    precision: "f32" | "f16";
    config?: string;
    onBytes?: (done: number, total: number) => void;
  },
): Promise<LoadingFigures> {
  using device = await Device.open();
  const base = await BaseModel.open(await openCheckpoint(name, config === undefined ? {} : { config }), { precision });
  const watched = new BigInt64Array(new SharedArrayBuffer(16));
  // On a CPU adapter buffers are in the process's own memory.
  const noteBuffers = () => Atomics.store(watched, 0, BigInt(device.facts.target.cpu ? device.statistics.bytes : 0));
  const watcher = await startWatcher(watched), startHostBytes = Deno.memoryUsage().rss;
  try {
    const start = performance.now(), startCpu = cpuSeconds();
    let done = 0;
    await base.load(device, {
      onLoaded: (sizeBytes) => {
        noteBuffers();
        onBytes?.(done += sizeBytes, base.weightBytes);
      },
    });
    await device.readBuffers([]);
    return {
      seconds: (performance.now() - start) / 1000,
      cpuSeconds: cpuSeconds() - startCpu,
      weightBytes: base.weightBytes,
      peakHostBytes: Number(Atomics.load(watched, 1)),
      startHostBytes,
      adapter: device.facts.name,
    };
  } finally {
    watcher.terminate();
  }
}

/** What the line of the small base is joined by. */
export const loadingKey: LineKey = { op: "loading", shape: "toy", pass: "load" };

/** Measures loading the small base, some times. */
export async function measureToyLoading(): Promise<Line> {
  const loads: LoadingFigures[] = [];
  for (let load = 0; load < 5; load++) loads.push(await measureLoading(toyFolder, { precision: "f32" }));
  const sorted = (of: (load: LoadingFigures) => number) => loads.map(of).toSorted((a, b) => a - b);
  const ms = sorted(({ seconds }) => 1000 * seconds), cpuMs = sorted(({ cpuSeconds }) => 1000 * cpuSeconds);
  const [{ weightBytes, adapter }] = loads, middle = loads.length >> 1;
  return {
    ...{ peer: "dualora", ...loadingKey, dtype: "f32" },
    ...{ ms_median: ms[middle], ms_min: ms[0], cpu_ms: cpuMs[middle], runs: loads.length, batch: 1 },
    ...{ weight_bytes: weightBytes, peak_bytes: Math.max(...loads.map(({ peakHostBytes }) => peakHostBytes)) },
    ...{ adapter, version: await programVersion() },
  };
}

/** Starts watching and waits until it does. */
async function startWatcher(watched: BigInt64Array): Promise<Worker> {
  const worker = new Worker(new URL("./memory_watch.ts", import.meta.url), { type: "module" });
  const answer = new Promise((resolve) => worker.onmessage = resolve);
  worker.postMessage(watched);
  await answer;
  return worker;
}

function cpuSeconds(): number {
  const { user, system } = cpuUsage();
  return (user + system) / 1e6;
}

if (import.meta.main) {
  const command = taskCommand("deno task bench:loading", "Measures how a base model is loaded: a JSON line.")
    .argument("<base>", "folder or file of a base model")
    .addOption(
      new Option("--precision <format>", "of the weights").choices(["f16", "f32"] as const).default("f16" as const),
    )
    .option("--config <folder>", "folder whose configurations a base in one file is read with")
    .parse(Deno.args, { from: "user" });
  const [name] = command.processedArgs, { precision, config } = command.opts();
  const figures = await measureLoading(name, { precision, ...config === undefined ? {} : { config } });
  console.log(JSON.stringify({ name: basename(name), precision, ...figures }));
}
