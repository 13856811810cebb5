import { deepEqual, equal, ok } from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setFlags } from "../../tools/permissions.ts";
import {
  differingFigures,
  figuresIn,
  figuresOf,
  moduleOf,
  notebookNames,
  notebooksFolder,
  readNotebook,
} from "../../tools/notebooks/notebook.ts";
import { inNewFolder } from "./run_example.ts";

const recorded: Record<string, Record<"full" | "quick", Record<string, number>>> = JSON.parse(
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
    deepEqual(differingFigures(figuresIn(text), recorded[name].quick), []);
  }));

Deno.test("committed notebooks are executed, show the recorded figures, are small, and say nothing of where they ran", async () => {
  for (const name of await notebookNames()) {
    const notebook = await readNotebook(name), path = join(notebooksFolder, `${name}.ipynb`);
    const shown = [...figuresOf(notebook)].map(([figure, { value }]) => [figure, value]);
    deepEqual(Object.fromEntries(shown), recorded[name].full, name);
    ok(shown.length > 0 && Object.keys(recorded[name].quick).length === shown.length, name);
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
  deepEqual(differingFigures(found, { "a b": 0.75, e: 2 }), ["c is NaN, and was never recorded"]);
  deepEqual(differingFigures(found, { "a b": 0.7, c: 0, d: 3, e: 2 }), [
    "a b is 1.25, was recorded as 0.7: further apart than 0.5",
    "c is NaN, was recorded as 0: further apart than 1",
    "d is recorded, and was not shown",
  ]);
});

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
