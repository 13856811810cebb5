import { parse, TomlError } from "smol-toml";
import { readPlainText } from "../../formats/plain_file.ts";
import type { DatasetOptions, SubsetOptions } from "../../data/dataset_options.ts";
import { JsonNumber, type JsonValue, parseStrictJson } from "../../formats/strict_json.ts";
import { type CheckedConfig, ConfigChecker, type ConfigLevel, type ConfigProblem } from "./check_config.ts";
import { type ConfigValue, datasetDefaults, folderDefaults, subsetDefaults } from "./schema.ts";
import { type KeyPath, tomlLines } from "./toml_lines.ts";

/** A file of data sets that cannot be used. The message names the file and, for each mistake, line, key and what is wanted. */
export class DatasetConfigError extends Error {
  override readonly name = "DatasetConfigError";

  constructor(
    readonly file: string,
    /** The mistakes; with a line if the file has lines. */
    readonly problems: readonly (ConfigProblem & { readonly line?: number })[],
    options?: ErrorOptions,
  ) {
    const list = problems.map(({ path, line, message }) => {
      const place = [...line === undefined ? [] : [`line ${line}`], ...path.length === 0 ? [] : [pathText(path)]];
      return `${place.join(", ")}${place.length > 0 ? ": " : ""}${message}`;
    });
    super(
      list.length === 1
        ? `Cannot use the data sets of ${file}, ${list[0]}`
        : `Cannot use the data sets of ${file}:\n  ${list.join("\n  ")}`,
      options,
    );
  }
}

function pathText(path: KeyPath): string {
  return path.map((part, at) => typeof part === "number" ? `[${part}]` : at === 0 ? part : `.${part}`).join("");
}

/** What a command line says about all data sets: the weakest of all levels, for keys that the file has nowhere. */
export type DatasetFlags = Omit<DatasetOptions, "subsets" | "trainDataDir" | "regDataDir">;

const camel = (key: string) => key.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase());

/** Of the levels the first that has the key wins; false and 0 count. */
function resolved(defaults: ConfigLevel, levels: readonly ConfigLevel[]): ConfigLevel {
  const found = Object.keys(defaults).map((
    key,
  ) => [key, levels.map((level) => level[key]).find((v) => v !== undefined)]);
  const given = found.filter(([, value]) => value !== undefined);
  const all = { ...defaults, ...Object.fromEntries(given) };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

function inCamelCase(level: ConfigLevel): Record<string, unknown> {
  return Object.fromEntries(Object.entries(level).map(([key, value]) => [camel(key), value]));
}

/** Fills in every setting of every data set and subset. */
function resolve({ general, datasets }: CheckedConfig, flags: DatasetFlags): DatasetOptions[] {
  const snake = (key: string) => key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  const weakest = Object.fromEntries(Object.entries(flags).map(([key, value]) => [snake(key), value]));
  return datasets.map(({ kind, settings, subsets }) => {
    const isFolders = kind === "folders", above = [settings, general, weakest];
    const shared = resolved({ ...datasetDefaults, ...isFolders ? { prior_loss_weight: 1 } : {} }, above);
    return {
      ...inCamelCase(shared),
      subsets: subsets.map((subset): SubsetOptions => ({
        ...inCamelCase(resolved({ ...subsetDefaults, ...isFolders ? folderDefaults : {} }, [subset, ...above])),
        ...typeof subset.image_dir === "string" ? { imageDir: subset.image_dir } : {},
        ...typeof subset.metadata_file === "string" ? { metadataFile: subset.metadata_file } : {},
      })),
    };
  });
}

function fromJson(value: JsonValue): ConfigValue {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, each]) => [key, fromJson(each)]));
  if (Array.isArray(value)) return value.map(fromJson);
  if (value instanceof JsonNumber) return /^-?\d+$/.test(value.text) ? BigInt(value.text) : Number(value.text);
  return value;
}

/** Content of a file, and where in it a key stands. */
function parseConfig(path: string, text: string): { content: ConfigValue; lineOf?: (path: KeyPath) => number } {
  if (path.toLowerCase().endsWith(".json")) {
    try {
      return { content: fromJson(parseStrictJson(text)) };
    } catch (error) {
      throw new DatasetConfigError(path, [{ path: [], message: (error as Error).message }], { cause: error });
    }
  }
  try {
    return { content: parse(text, { integersAsBigInt: true }) as ConfigValue, lineOf: tomlLines(text) };
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const { line, column, message } = error, reason = message.split("\n")[0].replace(/^Invalid TOML document: /, "");
    throw new DatasetConfigError(path, [{ path: [], line, message: `column ${column}: ${reason}` }], { cause: error });
  }
}

/**
 * Reads data sets from a file as `--dataset_config` takes it: TOML, or JSON of the same structure, with `general`,
 * `datasets` and their `subsets`.
 *
 * @param flags Settings for what the file does not say.
 * @returns Every data set with every setting, as `readDatasets` takes them.
 * @throws {DatasetConfigError} If the file cannot be read, is not TOML, or says something that cannot be meant: every
 * mistake is named.
 */
export async function readDatasetConfig(path: string, flags: DatasetFlags = {}): Promise<DatasetOptions[]> {
  if (!/\.(toml|json)$/i.test(path)) {
    throw new DatasetConfigError(path, [{ path: [], message: "its name must end in .toml or .json" }]);
  }
  let text: string;
  try {
    text = await readPlainText(path);
  } catch (error) {
    const isMissing = (error as { code?: string }).code === "ENOENT";
    const message = isMissing ? "there is no such file" : (error as Error).message;
    throw new DatasetConfigError(path, [{ path: [], message }], { cause: error });
  }
  const { content, lineOf } = parseConfig(path, text), checker = new ConfigChecker();
  const checked = checker.check(content);
  if (checker.problems.length === 0) return resolve(checked, flags);
  throw new DatasetConfigError(
    path,
    checker.problems.map((problem) => ({ ...problem, ...lineOf ? { line: lineOf(problem.path) } : {} })),
  );
}
