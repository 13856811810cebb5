import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { adapterLimits } from "../engine/mod.ts";
import { projectFolder } from "../tools/project_files.ts";
import { type Line, type LineKey, programVersion } from "./line.ts";

/** What the line is joined by. */
export const startUpKey: LineKey = { op: "start_up", shape: "toy 128px batch1 rank16 both", pass: "start" };

const starts = 5;

/**
 * Measures the time from the start of the process to the first training step's figures, on the small base: with the latents cached, as when a recipe is run
 * again. The first of some starts, which fills the caches, does not count.
 */
export async function measureStartUp(): Promise<Line> {
  const folder = await mkdtemp(join(tmpdir(), "dualora-start-"));
  try {
    const all: Start[] = [];
    for (let start = 0; start < starts; start++) {
      all.push(await startOnce(join(folder, "latents"), join(folder, `${start}`)));
    }
    const [first, ...warm] = all, middle = warm.length >> 1;
    const sorted = (of: (start: Start) => number) => warm.map(of).toSorted((a, b) => a - b);
    const wall = sorted(({ wallMs }) => wallMs), cpu = sorted(({ cpuMs }) => cpuMs);
    return {
      ...{ peer: "dualora", ...startUpKey, dtype: "f32" },
      ...{ ms_median: wall[middle], ms_min: wall[0], cpu_ms: cpu[middle], runs: warm.length, batch: 1 },
      ...{ ms_first: first.wallMs, adapter: (await adapterLimits()).name, version: await programVersion() },
    };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Milliseconds until the first step's figures: of the clock since the start as the tasks start, and of the recipe's process's CPU time. */
interface Start {
  readonly wallMs: number;
  readonly cpuMs: number;
}

async function startOnce(latents: string, folder: string): Promise<Start> {
  const start = performance.now();
  const child = spawn(
    Deno.execPath(),
    ["run", "-A", "tools/launch.ts", "bench/start_up_recipe.ts", latents, folder],
    { cwd: projectFolder, stdio: ["ignore", "pipe", "inherit"] },
  );
  const exit = once(child, "exit");
  let found: Start | null = null;
  for await (const line of createInterface({ input: child.stdout! })) {
    found ??= { wallMs: performance.now() - start, cpuMs: JSON.parse(line).firstStepCpuMs };
  }
  const [code] = await exit;
  if (code !== 0 || !found) throw new Error(`Cannot measure the start: the recipe ended with ${code}`);
  return found;
}
