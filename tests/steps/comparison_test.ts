import { deepEqual, doesNotMatch, equal, match, ok, rejects, throws } from "node:assert/strict";
import { cp, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exitCodeOf } from "../../cli/exit_codes.ts";
import * as d from "../../mod.ts";
import { readLora } from "../../formats/lora_file.ts";
import { readCell } from "../../steps/comparison/cell.ts";
import { cellSettings } from "../../steps/comparison/cell_settings.ts";
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

    const trained: string[] = [], again: string[] = [];
    const cells = await d.comparison(options).run({
      onCell: (text) => void again.push(text),
      onEvent: (event) => {
        if (event.type === "step-finished" && /train/.test(event.step)) trained.push(event.step);
      },
    });
    ok(again.some((text) => /^cell 2 of 3 took \d+ s since it was last started: /.test(text)), again.join("\n"));
    ok(again.some((text) => /^cell 3 of 3 took \d+ s: /.test(text)), again.join("\n"));
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

    // Asked for fewer, it makes tables of these, and those of all are still there.
    const few: string[] = [],
      results = ["additivity.svg", "best.png", "identity_stack.svg", "results.json", "results.md"];
    await d.comparison({ ...options, variants: variants.slice(0, 1) }).run({ onCell: (text) => void few.push(text) });
    const earlier = join(options.folder, "earlier-results-1"), kept = await readdir(earlier);
    deepEqual(few[0], `results of other seeds, ways or data are now in ${earlier}`);
    deepEqual(results.filter((name) => !kept.includes(name)), []);
    equal(await readFile(join(earlier, "results.md"), "utf8"), table);
    doesNotMatch(await readFile(join(options.folder, "results.md"), "utf8"), /orthonormal/);
    // These are part of all.
    await d.comparison(options).run();
    equal(await readFile(join(options.folder, "results.md"), "utf8"), table);
    deepEqual((await readdir(options.folder)).sort(), [...made, "earlier-results-1"].sort());
  }));

Deno.test("without regions additivity alone is measured, and a cell of other settings is never written over", () =>
  inNewFolder(async (folder) => {
    const { regions: _, ...options } = await small(folder), [cell] = await d.comparison(options).run();
    deepEqual(Object.keys(cell.figures).filter((name) => /identity|outfit/.test(name)), []);
    ok(cell.figures.additivity > 0);
    const path = join(options.folder, "cells", "sequential", "seed-1");
    deepEqual(await readCell(path), cell);
    const table = await readFile(join(options.folder, "results.md"), "utf8");
    match(table, /\| mean square of 1's change \| mean square of 2's change \|/);
    match(table, /The additivity error falls where a network learns less/);

    const other = d.comparison({ ...options, seeds: [2, 1], training: { ...options.training, steps: 3 } });
    const said: string[] = [], onCell = (text: string) => void said.push(text);
    for (const refused of [() => other.run({ onCell }), () => other.describe()]) {
      const error: Error = await refused().then(() => new Error("it went on"), (error) => error);
      const file = join(path, "cell.json");
      ok(error.message.includes(`the finished cell ${file} is of other settings`), error.message);
      match(error.message, /name another folder \(--output_dir\), or delete its folder$/);
      equal(exitCodeOf(error), 2);
    }
    deepEqual(said, []);
    deepEqual(await readCell(path), cell);
  }));

Deno.test("a cell's settings are contents: of the regions, of the base wherever it lies, and of the baseline that is projected", () =>
  inNewFolder(async (folder) => {
    const projected: d.Variant = { name: "null space", training: "projected" }, new1: d.Variant = { name: "new" };
    const regions = join(folder, "regions.json"), base = join(folder, "base");
    await cp(d.toy.regions, regions);
    await cp(d.toy.base, base, { recursive: true });
    const options = await small(folder, { regions, variants: [{ name: "sequential" }, projected, new1] });
    const hashes = async (change: Partial<d.ComparisonOptions> = {}) => {
      const of = await cellSettings({ ...options, ...change }, new AbortController().signal);
      return [of(projected, 1), of(new1, 1)];
    };
    const before = await hashes();
    deepEqual(await hashes({ bases: { network1: base }, seeds: [1, 2] }), before);
    const changed = (now: readonly string[]) => now.map((hash, at) => hash !== before[at]);
    // Its name is none of what decides a cell; what it trains with is.
    deepEqual(changed(await hashes({ variants: [{ name: "other" }, projected] })), [false, false]);
    const baseline = { name: "sequential", orthogonality: { up: 1 } };
    deepEqual(changed(await hashes({ variants: [baseline, projected] })), [true, false]);
    deepEqual(changed(await hashes({ bases: { network1: "toy", mixedPrecision: "fp16" } })), [true, true]);
    deepEqual(changed(await hashes({ buckets: { enableBucket: true } })), [true, true]);

    const scheduler = join(base, "scheduler", "scheduler_config.json"), text = await readFile(scheduler, "utf8");
    await writeFile(scheduler, JSON.stringify({ ...JSON.parse(text), beta_end: 0.0119 }));
    deepEqual(changed(await hashes({ bases: { network1: base } })), [true, true]);
    const read = JSON.parse(await readFile(regions, "utf8"));
    await writeFile(regions, JSON.stringify({ ...read, outfit: read.outfit.slice(1) }));
    deepEqual(changed(await hashes()), [true, true]);
  }));

Deno.test("describe() plans a cell of each variant, counts cells, and names the files that a run writes", () =>
  inNewFolder(async (folder) => {
    const up = (coefficient: number) => ({ textEncoder: 0, unet: 0, up: coefficient });
    const variants: d.Variant[] = [
      ...[{ name: "sequential" }, { name: "up 1", orthogonality: up(1) }, { name: "up 10", orthogonality: up(10) }],
      { name: "rows", training: "projected" },
    ];
    const buckets = { enableBucket: true, minBucketReso: 64, maxBucketReso: 128, bucketResoSteps: 32 };
    const options = await small(folder, { variants, seeds: [3, 4], buckets });
    const { steps } = await d.comparison(options).describe();
    const of = (name: string) => steps.find((step) => step.name === name)!;
    match(of("cells").lines[0], /^4 variants × 2 seeds = 8 cells, 0 of them done; the baseline is "sequential"$/);
    const { network1: [dataset] } = of("network 1: read data").options as { network1: object[] };
    deepEqual(dataset, { resolution: 64, ...buckets, batchSize: 1, priorLossWeight: 1 });
    deepEqual(of("network 1: save networks").lines, [
      join(options.folder, "network1", "seed-3", "network1.safetensors"),
    ]);
    deepEqual(steps.slice(-4).map(({ name }) => name), variants.map(({ name }) => name));
    for (
      const [name, place] of [["sequential", "sequential"], ["up 1", "up-1"], ["up 10", "up-10"], ["rows", "rows"]]
    ) {
      equal(of(name).lines.at(-1), `in ${join(options.folder, "cells", place, "seed-3")}`);
    }
    equal(of("sequential").figures.totalSteps, 2);
    deepEqual([of("up 1"), of("up 10")].map(({ lines }) => lines.includes('planned as "up 1"')), [false, true]);
    deepEqual(await readdir(folder), ["character", "outfit"]);
  }));

Deno.test("what a base lacks for one of the variants is told with its name before anything is computed", () =>
  inNewFolder(async (folder) => {
    const options = await small(folder), said: string[] = [], training = { ...options.training, rank: 32 };
    const hooks = { modules: ["lora_unet_x"] };
    const apart = [{ name: "sequential" }, { name: "apart", orthonormal: true }];
    await rejects(
      d.comparison({ ...options, training, variants: apart }).run({ onCell: (text) => void said.push(text) }),
      {
        message:
          /^Cannot compare with "apart": Cannot make lora_te_\w+ orthonormal at place 1: its layer has 48 inputs, /,
      },
    );
    const hooked = [{ name: "sequential" }, { name: "hooked", orthogonality: { hooks } }];
    await rejects(d.comparison({ ...options, variants: hooked }).describe(), {
      message: /^Cannot compare with "hooked": .*Cannot hook lora_unet_x: network 1 has no such module$/,
    });
    deepEqual(said, ["planning 2 variants"]);
    deepEqual(await readdir(folder), ["character", "outfit"]);
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
