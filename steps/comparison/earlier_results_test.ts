import { deepEqual, equal, rejects } from "node:assert/strict";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Cell } from "./cell.ts";
import { keepEarlierResults } from "./earlier_results.ts";

function cell(variant: string, seed: number, settings = "a"): Cell {
  return { variant, seed, settings, figures: {}, seconds: 1 };
}

Deno.test("results that have a cell of another seed, way or setting are moved aside whole, all others stay", async () => {
  const folder = await Deno.makeTempDir(), own = ["cells", "mine.svg"];
  try {
    await mkdir(join(folder, "cells"));
    await writeFile(join(folder, "mine.svg"), "");
    equal(await keepEarlierResults(folder, []), null);
    const made = ["additivity.svg", "best.png", "results.json", "results.md"];
    const keep = async (earlier: readonly Cell[], cells: readonly Cell[]) => {
      for (const name of made) await writeFile(join(folder, name), JSON.stringify({ name, cells: earlier }));
      return await keepEarlierResults(folder, cells);
    };
    const both = [cell("one", 1), cell("two", 1)];
    equal(await keep(both, [...both, cell("one", 2)]), null);
    equal(await keep([], []), null);
    const others = [[cell("one", 1)], [cell("one", 1), cell("two", 2)], [cell("one", 1), cell("two", 1, "b")], []];
    for (const [at, cells] of others.entries()) {
      const place = join(folder, `earlier-results-${at + 1}`);
      equal(await keep(both, cells), place);
      deepEqual((await readdir(place)).sort(), made);
      deepEqual(JSON.parse(await readFile(join(place, "results.md"), "utf8")).name, "results.md");
      deepEqual((await readdir(folder)).filter((name) => !name.startsWith("earlier-")).sort(), own);
    }
    await writeFile(join(folder, "results.json"), "{");
    await rejects(keepEarlierResults(folder, []), {
      message: `Cannot read ${join(folder, "results.json")}: it is no JSON; delete it, and it is written anew`,
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
