import { deepEqual, equal, match, ok, rejects, throws } from "node:assert/strict";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import * as d from "../../mod.ts";
import { readLora } from "../../formats/lora_file.ts";
import { readCell } from "../../steps/comparison/cell.ts";
import { inNewFolder, smallData } from "./small_training.ts";

const prompts = { network1: "sks person", network2: "zkz clothes", stack: "sks person, zkz clothes, {row} background" };

/** A comparison that trains for two steps, on two pictures for each network of which one is held out. */
async function small(folder: string, options: Partial<d.ComparisonOptions> = {}): Promise<d.ComparisonOptions> {
  const { network1, network2 } = await smallData(folder);
  return {
    ...{ folder: join(folder, "out"), bases: { network1: "toy" }, network1, network2: network2! },
    ...{ resolution: 64, batchSize: 1, heldOut: 0.5, regions: d.toy.regions, prompts, seeds: [1] },
    training: { rank: 4, steps: 2, learningRate: 1e-2 },
    pictures: { width: 64, height: 64, steps: 2, guidance: 3, rows: [{ text: "white", seed: 1 }] },
    variants: [{ name: "sequential" }],
    ...options,
  };
}

/** The rows of a LoRA file's down projections times another file's. */
async function largestProduct(file1: string, file2: string): Promise<number> {
  const [one, two] = await Promise.all([file1, file2].map(readLora));
  let most = 0;
  for (const { name, down } of two.modules) {
    const other = one.modules.find((module) => module.name === name)!.down, size = down.values.length / down.shape[0];
    for (let r = 0; r < other.shape[0]; r++) {
      for (let q = 0; q < down.shape[0]; q++) {
        let dot = 0;
        for (let i = 0; i < size; i++) dot += other.values[r * size + i] * down.values[q * size + i];
        most = Math.max(most, Math.abs(dot));
      }
    }
  }
  return most;
}

Deno.test("a comparison that is stopped goes on, never runs a finished cell again, and ends with a table of all", () =>
  inNewFolder(async (folder) => {
    const variants: d.Variant[] = [
      { name: "sequential" },
      { name: "Null space, rows", training: "projected", side: "rows" },
      { name: "orthonormal", orthonormal: true },
    ];
    const options = await small(folder, { variants }), said: string[] = [], stop = new AbortController();
    const onCell = (text: string) => {
      said.push(text);
      if (text.startsWith("cell 2 of 3: ")) stop.abort();
    };
    await rejects(d.comparison(options).run({ onCell, signal: stop.signal }), { name: "InterruptedError" });
    const cell = join(options.folder, "cells", "sequential", "seed-1");
    const { mtimeMs } = await stat(join(cell, "cell.json"));
    deepEqual((await readdir(cell)).sort(), [
      ...["cell.json", "network1.safetensors", "network2.safetensors", "pictures", "run.json"],
    ]);

    const trained: string[] = [],
      cells = await d.comparison(options).run({
        onEvent: (event) => {
          if (event.type === "step-finished" && /train/.test(event.step)) trained.push(event.step);
        },
      });
    equal((await stat(join(cell, "cell.json"))).mtimeMs, mtimeMs);
    // The projected one trains nothing; the orthonormal one has a network 1 of its own.
    deepEqual(trained, ["pretrain network 1", "train network 2"]);
    deepEqual(cells.map(({ variant, seed }) => [variant, seed]), variants.map(({ name }) => [name, 1]));
    for (const { figures } of cells) {
      for (const name of ["identity_alone", "identity_stack", "outfit_alone", "outfit_stack", "additivity"]) {
        ok(Number.isFinite(figures[name]), name);
      }
    }
    // Nothing kept the baseline's networks apart: their terms were measured, and are no part of the loss.
    ok(cells[0].figures.orth_te > 0);

    const network = (variant: string, number: 1 | 2) =>
      join(options.folder, "cells", variant, "seed-1", `network${number}.safetensors`);
    ok(await largestProduct(network("sequential", 1), network("sequential", 2)) > 0.05);
    ok(await largestProduct(network("null-space-rows", 1), network("null-space-rows", 2)) < 1e-6);
    ok(await largestProduct(network("orthonormal", 1), network("orthonormal", 2)) < 1e-6);

    const made = await readdir(options.folder);
    for (const name of ["results.json", "results.md", "best.png", "identity_stack.svg", "additivity.svg"]) {
      ok(made.includes(name), name);
    }
    const table = await readFile(join(options.folder, "results.md"), "utf8");
    for (const { name } of variants) match(table, new RegExp(`^\\| ${name} \\| 1 \\| `, "m"));
  }));

Deno.test("without regions additivity alone is measured, and a cell counts for its own settings alone", () =>
  inNewFolder(async (folder) => {
    const { regions: _, ...options } = await small(folder), [cell] = await d.comparison(options).run();
    deepEqual(Object.keys(cell.figures).filter((name) => /identity|outfit/.test(name)), []);
    ok(cell.figures.additivity > 0);
    const path = join(options.folder, "cells", "sequential", "seed-1");
    deepEqual(await readCell(path, cell.settings), cell);
    equal(await readCell(path, "others"), null);
  }));

Deno.test("comparison() refuses what has no baseline, no seed, or two variants in one folder", () => {
  const options = { seeds: [1], variants: [{ name: "sequential" }] } as unknown as d.ComparisonOptions;
  const refuses = (change: Partial<d.ComparisonOptions>, message: RegExp) =>
    throws(() => d.comparison({ ...options, ...change }), message);
  refuses({ variants: [] }, /^RangeError: Cannot compare: 0 variants and 1 seeds, must be one of each at least$/);
  refuses({ seeds: [1, 1] }, /seeds are 1, 1, must be different whole numbers/);
  refuses({ variants: [{ name: "a b" }, { name: "A, b" }] }, /"A, b" makes the folder "a-b", must be one of its own/);
  refuses({ variants: [{ name: "joint", training: "both" }] }, /Cannot compare with "joint": the first variant is the/);
});
