import { deepEqual, equal, rejects } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { planRecipe } from "../../cli/recipe/plan_recipe.ts";
import type { ReadDatasetsOptions } from "../../steps/read_datasets.ts";
import { settingsOfLine } from "./parse_line.ts";

const folder = join(import.meta.dirname!, "../golden/files/dataset_config");
const golden = JSON.parse(await readFile(join(folder, "expected.json"), "utf8"));
const base = ["--pretrained_model_name_or_path=base", "--output_dir=out", "--optimizer_type=AdamW"];

/** Settings that are no part of a data set here: one is the text encoder's, the other the command's. */
const elsewhere = ["max_token_length", "debug_dataset", "is_dreambooth", "subsets"];

async function datasetsOf(line: readonly string[]): Promise<ReadDatasetsOptions> {
  const plan = await planRecipe(await settingsOfLine([...base, ...line]));
  return plan.calls[1][1] as ReadDatasetsOptions;
}

/** Settings by sd-scripts' names; null where there is none. */
function named(settings: object, names: readonly string[]): Record<string, unknown> {
  const camel = (name: string) => name.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase());
  const values = settings as Record<string, unknown>;
  return Object.fromEntries(names.map((name) => [name, values[camel(name)] ?? null]));
}

Deno.test("flags beside --dataset_config are the weakest: each file is resolved as sd-scripts resolves it", async (t) => {
  equal(Object.keys(golden.valid).length, 18);
  for (
    const [name, { flags, datasets }] of Object.entries<{ flags: string[]; datasets: Record<string, unknown>[] }>(
      golden.valid,
    )
  ) {
    await t.step(name, async () => {
      const { network1 } = await datasetsOf([`--dataset_config=${join(folder, `valid_${name}.toml`)}`, ...flags]);
      equal(network1.length, datasets.length);
      for (const [at, expected] of datasets.entries()) {
        const names = Object.keys(expected).filter((name) => !elsewhere.includes(name));
        const { resolution, ...settings } = network1[at];
        // One number is both sides.
        const sides = typeof resolution === "number" ? [resolution, resolution] : resolution;
        deepEqual(
          named({ ...settings, resolution: sides }, names),
          Object.fromEntries(names.map((name) => [name, expected[name]])),
        );
        const subsets = expected.subsets as Record<string, unknown>[];
        equal(network1[at].subsets?.length ?? 0, subsets.length);
        for (const [n, subset] of subsets.entries()) {
          // In Python, true is 1.
          if (subset.num_repeats === true) subset.num_repeats = 1;
          deepEqual(named(network1[at].subsets![n], Object.keys(subset)), subset);
        }
      }
    });
  }
});

Deno.test("--dataset_config_2 brings network 2's data sets, and is no fallback of its own", async () => {
  const file = join(folder, "valid_smallest.toml");
  const { network1, network2 } = await datasetsOf([
    "--train_data_dir=a",
    `--dataset_config_2=${file}`,
    "--train_batch_size_2=3",
  ]);
  deepEqual(network1, [{ trainDataDir: "a", resolution: 512, captionExtension: ".caption" }]);
  equal(network2?.length, 1);
  equal(network2?.[0].batchSize, 3);
});

Deno.test("a mistake in a file of data sets names file, line and key", async () => {
  const file = join(folder, "invalid_unknown_key.toml");
  await rejects(
    datasetsOf([`--dataset_config=${file}`]),
    /invalid_unknown_key\.toml, line \d+, .*: unknown key .*; did you mean /,
  );
});
