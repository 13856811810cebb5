import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setFlags } from "../../tools/permissions.ts";
import {
  differingFigures,
  figuresIn,
  figuresOf,
  machineOfRuns,
  moduleOf,
  notebookNames,
  notebooksFolder,
  readNotebook,
  type RecordedFigures,
  whyNotSameBits,
} from "../../tools/notebooks/notebook.ts";
import { inNewFolder } from "./run_example.ts";

const recorded: Record<string, Record<"full" | "quick", RecordedFigures>> = JSON.parse(
  await readFile(join(notebooksFolder, "figures.json"), "utf8"),
);

Deno.test("the cells of notebook 1 run one after another, quickly, to the recorded figures", () =>
  inNewFolder(async (folder) => {
    const [name] = await notebookNames(), path = join(folder, "cells.ts");
    await writeFile(path, moduleOf(await readNotebook(name)));
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        `--config=${fileURLToPath(new URL("../../deno.json", import.meta.url))}`,
        ...setFlags("notebook", [folder]),
        path,
      ],
      cwd: folder,
      env: { NO_COLOR: "1", DUALORA_NOTEBOOK: "quick", DUALORA_NOTEBOOK_FOLDER: folder },
      stdin: "null",
    }).output();
    const text = new TextDecoder().decode(stdout);
    equal(code, 0, text + new TextDecoder().decode(stderr));
    // Equal bits are what `deno task notebooks` asks for, where figures were recorded: no run says on which processor that was.
    deepEqual(differingFigures(figuresIn(text), recorded[name].quick.figures, false), []);
  }));

Deno.test("committed notebooks are executed, show the recorded figures, are small, and say nothing of where they ran", async () => {
  for (const name of await notebookNames()) {
    const notebook = await readNotebook(name), path = join(notebooksFolder, `${name}.ipynb`);
    const shown = [...figuresOf(notebook)].map(([figure, { value }]) => [figure, value]);
    const { full, quick } = recorded[name];
    deepEqual(Object.fromEntries(shown), full.figures, name);
    ok(shown.length > 0 && Object.keys(quick.figures).length === shown.length, name);
    for (const { machine } of [full, quick]) {
      deepEqual(Object.keys(machine).sort(), ["adapter", "deno", "driver", "dualora", "system", "v8"], name);
    }
    ok((await stat(path)).size < 1e6, name);
    for (const { outputs = [] } of notebook.cells) {
      for (const { output_type, data = {} } of outputs) {
        ok(output_type !== "error", name);
        ok(!/(^|[\s"'(])\/(tmp|home|root|work|Users)\//.test(JSON.stringify(data)), `${name} shows a path`);
      }
    }
  }
});

Deno.test("a figure that is further from the recorded one than the notebook allows, that is missing or new, is told", () => {
  const found = figuresIn("figure a b = 1.25 ± 0.5\nfigure c = NaN ± 1\nfigure e = 2 ± 0\nnothing\n");
  deepEqual(differingFigures(found, { "a b": 0.75, e: 2 }, false), ["c is NaN, and was never recorded"]);
  deepEqual(differingFigures(found, { "a b": 0.7, c: 0, d: 3, e: 2 }, false), [
    "a b is 1.25, was recorded as 0.7: further apart than 0.5",
    "c is NaN, was recorded as 0: further apart than 1",
    "d is recorded, and was not shown",
  ]);
});

Deno.test("on the machine that figures were recorded on, they have to be equal to the last bit", () => {
  const found = figuresIn("figure a = 0.30000000000000004 ± 0.5\nfigure b = 1 ± 0.5\n");
  deepEqual(differingFigures(found, { a: 0.3, b: 1 }, false), []);
  deepEqual(differingFigures(found, { a: 0.3, b: 1 }, true), [
    "a is 0.30000000000000004, was recorded as 0.3: the same machine has to give the same bits",
  ]);
});

Deno.test("a machine is the same where adapter, driver and all versions are, and the driver's version is known", () => {
  const machine = { deno: "2.9.6", adapter: { name: "llvmpipe", f16: true }, driver: "Mesa 25" };
  deepEqual(whyNotSameBits(machine, structuredClone(machine)), []);
  deepEqual(whyNotSameBits(machine, { ...machine, deno: "2.9.7", adapter: { name: "H100", f16: true } }), [
    "deno was 2.9.6, is 2.9.7",
    'adapter was {"name":"llvmpipe","f16":true}, is {"name":"H100","f16":true}',
  ]);
  const unknown = { ...machine, driver: null };
  deepEqual(whyNotSameBits(unknown, unknown), ["the driver's version is not known"]);
  deepEqual(whyNotSameBits(machine, unknown), ["driver was Mesa 25, is null"]);
});

Deno.test("the machine of a notebook is what all of its runs say, and two machines are refused", () =>
  inNewFolder(async (folder) => {
    await rejects(machineOfRuns(folder), /^Error: No run in .* says what machine it ran on/);
    const write = async (path: string, ...machines: object[]) => {
      const starts = machines.map((machine) => ({ machine }));
      await mkdir(join(folder, path), { recursive: true });
      await writeFile(
        join(folder, path, "run.json"),
        JSON.stringify({
          ...{ format: "dualora-run-1", workingFolder: "", folder: "", started: null },
          ...{ starts, inputs: [], outputs: [], steps: [] },
        }),
      );
    };
    // A start that had nothing to compute knows no adapter.
    await write("run", { deno: "2" }, { deno: "2", adapter: { name: "a" } });
    await write("cells/one", { deno: "2", adapter: { name: "a" } });
    deepEqual(await machineOfRuns(folder), { deno: "2", adapter: { name: "a" } });
    await write("cells/two", { deno: "3" });
    await rejects(machineOfRuns(folder), /ran on several machines: deno was (2, is 3|3, is 2)$/);
  }));

Deno.test("the code of a notebook as a module has its cells in order and finds the project's files from anywhere", () => {
  const source = ['import * as d from "../../mod.ts";\n', "d;"];
  const cells = [
    { cell_type: "code", source },
    { cell_type: "markdown", source: "text" },
    { cell_type: "code", source: 'import { a } from "./show.ts";\nimport sharp from "sharp";' },
  ];
  const at = (path: string) => new URL(`../../${path}`, import.meta.url).href;
  equal(
    moduleOf({ cells }),
    `import * as d from "${at("mod.ts")}";\nd;\n\nimport { a } from "${
      at("examples/notebooks/show.ts")
    }";\nimport sharp from "sharp";`,
  );
});
