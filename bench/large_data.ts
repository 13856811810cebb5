/**
 * Measures how long it takes until all is known that a training reads, on folders and metadata of growing size, and prints a table:
 * `deno task bench:data [--most=100000]`. Exit code 1 if the largest takes more than is promised.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { countOf, taskCommand } from "../cli/task_command.ts";
import { toy } from "../mod.ts";
import { projectFolder } from "../tools/project_files.ts";

/** What is promised of 10,000 pictures in a folder, and of 100,000 captions in metadata. */
const promisedSeconds = 20;

/** How captions are given: in a file beside each picture, or in one file for all. */
type Kind = "caption files" | "metadata";

/** Makes pictures of 700 bytes with captions of their own. */
async function makeData(folder: string, kind: Kind, count: number): Promise<void> {
  const [source] = await readdir(toy.character), from = join(toy.character, source), to = join(folder, "pictures");
  const names = (await readdir(from)).filter((name) => name.endsWith(".png"));
  const pictures = await Promise.all(names.map((name) => readFile(join(from, name))));
  await mkdir(to);
  const entries: [string, { caption: string }][] = [];
  for (let at = 0; at < count; at++) {
    const name = join(to, `${at}`), caption = `sks person, number ${at}, blue background`;
    await writeFile(`${name}.png`, pictures[at % pictures.length]);
    if (kind === "metadata") entries.push([`${at}`, { caption }]);
    else await writeFile(`${name}.txt`, caption);
  }
  if (kind === "metadata") await writeFile(join(folder, "metadata.json"), JSON.stringify(Object.fromEntries(entries)));
}

/** Seconds on the clock since the start as the tasks start, and of the recipe's process's CPU time. */
async function measure(mode: "describe" | "run", folder: string): Promise<{ seconds: number; cpuSeconds: number }> {
  const words = ["run", "-A", "tools/launch.ts", "bench/large_data_recipe.ts", mode, folder], start = performance.now();
  const child = spawn(Deno.execPath(), words, { cwd: projectFolder, stdio: ["ignore", "pipe", "inherit"] });
  const exit = once(child, "exit");
  let found: { seconds: number; cpuSeconds: number } | null = null;
  for await (const line of createInterface({ input: child.stdout! })) {
    found ??= { seconds: (performance.now() - start) / 1000, cpuSeconds: JSON.parse(line).cpuMs / 1000 };
  }
  const [code] = await exit;
  if (code !== 0 || !found) throw new Error(`Cannot measure ${mode}: the recipe ended with ${code}`);
  return found;
}

const { most } = taskCommand("deno task bench:data", "Measures how long a training takes to start with many pictures.")
  .option("--most <count>", "captions in the largest file of metadata; of folders a tenth", countOf, 100_000)
  .parse(Deno.args, { from: "user" }).opts();
console.log("| Captions | Pictures | `--describe` | Start of a run |\n| --- | --- | --- | --- |");
for (const [kind, largest] of [["caption files", most / 10], ["metadata", most]] as const) {
  for (const count of [largest / 4, largest / 2, largest]) {
    const folder = await mkdtemp(join(tmpdir(), "dualora-data-"));
    try {
      await makeData(folder, kind, count);
      const cells: string[] = [];
      for (const mode of ["describe", "run"] as const) {
        const { seconds, cpuSeconds } = await measure(mode, folder);
        cells.push(`${seconds.toFixed(1)} s (${cpuSeconds.toFixed(1)} s)`);
        if (cpuSeconds > promisedSeconds) Deno.exitCode = 1;
      }
      console.log(`| ${kind} | ${count.toLocaleString("en")} | ${cells.join(" | ")} |`);
    } finally {
      await rm(folder, { recursive: true });
    }
  }
}
