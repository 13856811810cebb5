import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { join } from "node:path";
import {
  DatasetConfigError,
  type DatasetFlags,
  readDatasetConfig,
} from "../../steps/dataset_config/read_dataset_config.ts";
import { tomlLines } from "../../steps/dataset_config/toml_lines.ts";
import { inNewFolder } from "./small_training.ts";

const folder = join(import.meta.dirname!, "../golden/files/dataset_config");
const golden = JSON.parse(await Deno.readTextFile(join(folder, "expected.json")));

const snake = (key: string) => key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const camel = (key: string) => key.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase());

/** The command line's own defaults count as given. */
const defaults: DatasetFlags = { captionExtension: ".caption", minBucketReso: 256, maxBucketReso: 1024, batchSize: 1 };

/** sd-scripts' flags as settings; the two that differ in name are `batch_size` and `num_repeats` in the file. */
function flagsOf(line: readonly string[]): DatasetFlags {
  const names: Record<string, string> = { trainBatchSize: "batchSize", datasetRepeats: "numRepeats" };
  const pairs = line.filter((flag) => !flag.startsWith("--max_token_length")).map((flag) => {
    const [name, text] = flag.slice(2).split("="), key = camel(name), list = text?.split(",").map(Number);
    const value = list === undefined ? true : text.startsWith(".") ? text : list.length > 1 ? list : list[0];
    return [names[key] ?? key, key === "resolution" && typeof value === "number" ? [value, value] : value];
  });
  return { ...defaults, ...Object.fromEntries(pairs) };
}

/** Resolved settings with sd-scripts' names; what is not set is null there. */
function inSnakeCase(level: object, names: readonly string[]): Record<string, unknown> {
  const found = Object.fromEntries(Object.entries(level).map(([key, value]) => [snake(key), value]));
  ok(Object.keys(found).every((name) => names.includes(name)), `${Object.keys(found)}`);
  return Object.fromEntries(names.map((name) => [name, found[name] ?? null]));
}

Deno.test("readDatasetConfig() resolves every setting of every file as sd-scripts does", async () => {
  for (const [name, { flags, datasets }] of Object.entries<{ flags: string[]; datasets: object[] }>(golden.valid)) {
    const found = await readDatasetConfig(join(folder, `valid_${name}.toml`), flagsOf(flags));
    equal(found.length, datasets.length);
    // deno-lint-ignore no-explicit-any
    for (const [at, expected] of datasets.entries() as Iterable<[number, any]>) {
      const { subsets, is_dreambooth, max_token_length: _length, debug_dataset: _debug, ...settings } = expected;
      const { subsets: foundSubsets = [], ...foundSettings } = found[at];
      deepEqual(inSnakeCase(foundSettings, Object.keys(settings)), settings, name);
      equal(foundSubsets.length, subsets.length, name);
      for (const [n, subset] of subsets.entries()) {
        // In Python, true is 1.
        if (subset.num_repeats === true) subset.num_repeats = 1;
        deepEqual(inSnakeCase(foundSubsets[n], Object.keys(subset)), subset, `${name}, subset ${n}`);
        equal(foundSubsets[n].metadataFile === undefined, is_dreambooth);
      }
    }
  }
  equal(Object.keys(golden.valid).length, 18);
});

/** What each of the golden's verdicts is called here. */
const words: Record<string, RegExp> = {
  "extra keys not allowed": /^unknown key \w+; did you mean \w+\?$/,
  "required key not provided": /^\w+ is missing$/,
  "expected int": /^\w+ must be a whole number/,
  "expected bool": /^\w+ must be true or false, is /,
  "expected str": /^\w+ must be text in quotes, is /,
  "expected float": /^\w+ must be a list of two numbers with decimal points, such as \[2.0, 4.0\], is /,
  "wrong value": /^\w+ must be a list of two numbers with decimal points/,
  "expected a list": /^\w+ must be a list: write \[\[[\w.]+\]\], not \[[\w.]+\]$/,
  "mixed kinds": /^subsets with metadata_file and subsets without are mixed/,
};

async function problemsOf(path: string): Promise<DatasetConfigError> {
  const error = await readDatasetConfig(path).then(() => null, (error) => error);
  ok(error instanceof DatasetConfigError, `${path}: ${error}`);
  equal(error.file, path);
  return error;
}

Deno.test("readDatasetConfig() finds each mistake that sd-scripts finds, and says on which line", async () => {
  const cases = Object.entries<{ path: (string | number)[]; kind: string }[]>(golden.invalid);
  for (const [name, expected] of cases) {
    const path = join(folder, `invalid_${name}.toml`), { problems, message } = await problemsOf(path);
    deepEqual(problems.map(({ path }) => path), expected.map(({ path }) => path), name);
    const lines = (await Deno.readTextFile(path)).split("\n");
    for (const [at, { path: keys, line, message: said }] of problems.entries()) {
      match(said, words[expected[at].kind], name);
      ok(message.includes(`line ${line}, `) && message.includes(said) && message.includes(path));
      // What is there has its key on the line; what is missing, and what concerns a table, the table's header.
      const key = String(keys.findLast((part) => typeof part === "string"));
      ok(lines[line! - 1].includes(key) || /^\s*\[/.test(lines[line! - 1]), `${name}: ${line} ${lines[line! - 1]}`);
    }
  }
  equal(cases.length, 25);
});

Deno.test("readDatasetConfig() points at the line where TOML is broken", async () => {
  for (const [name, { line }] of Object.entries<{ line: number }>(golden.syntax)) {
    const { problems, message } = await problemsOf(join(folder, `syntax_${name}.toml`));
    equal(problems.length, 1);
    equal(problems[0].line, line, `${name}: ${message}`);
  }
  equal(Object.keys(golden.syntax).length, 7);
});

Deno.test("readDatasetConfig() writes a mistake in one line, more in one each", async () => {
  const [one, two] = ["unknown_key", "two_errors"].map((name) => join(folder, `invalid_${name}.toml`));
  equal(
    (await problemsOf(one)).message,
    `Cannot use the data sets of ${one}, line 5, datasets[0].subsets[0].shuffel_caption: unknown key shuffel_caption; ` +
      "did you mean shuffle_caption?",
  );
  equal(
    (await problemsOf(two)).message,
    `Cannot use the data sets of ${two}:\n` +
      '  line 5, datasets[0].subsets[0].num_repeats: num_repeats must be a whole number, is "x"\n' +
      '  line 6, datasets[0].subsets[0].flip_aug: flip_aug must be true or false, is "y"',
  );
});

Deno.test("readDatasetConfig() reads JSON of the same structure, and no other kind of file", () =>
  inNewFolder(async (root) => {
    const path = join(root, "data.json");
    const write = (text: string) => Deno.writeTextFile(path, text);
    await write('{"general": {"resolution": 64}, "datasets": [{"subsets": [{"image_dir": "a", "num_repeats": 3}]}]}');
    const [{ resolution, subsets }] = await readDatasetConfig(path);
    deepEqual([resolution, subsets![0].imageDir, subsets![0].numRepeats], [[64, 64], "a", 3]);
    await write('{"datasets": [{"subsets": [{"image_dir": "a", "num_repeats": 3.0}]}]}');
    await rejects(readDatasetConfig(path), {
      message: `Cannot use the data sets of ${path}, datasets[0].subsets[0].num_repeats: num_repeats must be a whole ` +
        "number, is 3.0",
    });
    await write('{"datasets": [{"flip_aug": null}]}');
    await rejects(readDatasetConfig(path), /flip_aug must be true or false, is null$/);
    await write("{");
    await rejects(readDatasetConfig(path), DatasetConfigError);
    await rejects(readDatasetConfig(join(root, "data.yaml")), /data.yaml, its name must end in .toml or .json$/);
    await rejects(readDatasetConfig(join(root, "no.toml")), /no.toml, there is no such file$/);
  }));

Deno.test("tomlLines() finds keys of nested lists, quoted keys, and the table of what is missing", () => {
  const lineOf = tomlLines(
    '[general]\n"a b" = 1\n\n[[datasets]]\nx = 1\n[[datasets.subsets]]\ny = 1\n[[datasets.subsets]]\ny = 2\n' +
      "[[datasets]]\n  [[datasets.subsets]]\n  y = 3\n  z = { y = 4 }\n",
  );
  const cases: [(string | number)[], number][] = [
    [["general"], 1],
    [["general", "a b"], 2],
    [["datasets", 0, "x"], 5],
    [["datasets", 0, "subsets", 0, "y"], 7],
    [["datasets", 0, "subsets", 1, "y"], 9],
    [["datasets", 0, "subsets", 1, "missing"], 8],
    [["datasets", 1, "subsets", 0, "y"], 12],
    [["datasets", 1, "subsets", 0, "z", "y"], 13],
    [["datasets", 1, "missing"], 10],
    [["elsewhere"], 1],
  ];
  for (const [path, line] of cases) equal(lineOf(path), line, JSON.stringify(path));
});
