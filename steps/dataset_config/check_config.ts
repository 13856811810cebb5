import { nearestName } from "../values/nearest_name.ts";
import { type ConfigValue, schema, type ValueKind } from "./schema.ts";
import type { KeyPath } from "./toml_lines.ts";

/** Something in a file that cannot be meant. */
export interface ConfigProblem {
  readonly path: KeyPath;
  /** What it is and what it must be. */
  readonly message: string;
}

/** One level's settings, by the file's keys. */
export type ConfigLevel = Readonly<Record<string, unknown>>;

/** A data set of a file. */
export interface CheckedDataset {
  readonly kind: "folders" | "metadata";
  readonly settings: ConfigLevel;
  readonly subsets: readonly ConfigLevel[];
}

/** A file's settings, checked, as they stand there. */
export interface CheckedConfig {
  readonly general: ConfigLevel;
  readonly datasets: readonly CheckedDataset[];
}

function isTable(value: ConfigValue | undefined): value is { [key: string]: ConfigValue } {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !((value as unknown) instanceof Date);
}

/** A value as it may stand in the file: 1.0 is no whole number. */
function valueText(value: ConfigValue): string {
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number") return Number.isInteger(value) ? value.toFixed(1) : String(value);
  if (Array.isArray(value)) return `[${value.map(valueText).join(", ")}]`;
  return isTable(value) ? "a table" : JSON.stringify(value);
}

/** Checks a file's content by sd-scripts' rules and finds all that is wrong with it. */
export class ConfigChecker {
  readonly problems: ConfigProblem[] = [];

  /** Checks a whole file; with problems found, what comes back must not be used. */
  check(content: ConfigValue): CheckedConfig {
    if (!isTable(content)) {
      this.#report([], "the file must be a table with general and datasets");
      return { general: {}, datasets: [] };
    }
    const known = ["general", "datasets"];
    for (const key of Object.keys(content).filter((key) => !known.includes(key))) this.#unknown([key], known);
    const { general = {} } = content;
    return { general: this.#level(general, ["general"], schema.general), datasets: this.#datasets(content.datasets) };
  }

  #report(path: KeyPath, message: string): void {
    this.problems.push({ path, message });
  }

  #unknown(path: KeyPath, known: readonly string[]): void {
    const key = String(path.at(-1));
    this.#report(path, `unknown key ${key}; did you mean ${nearestName(key, known)}?`);
  }

  #list(value: ConfigValue | undefined, path: KeyPath): ConfigValue[] {
    if (value === undefined || Array.isArray(value)) return value ?? [];
    const header = path.filter((part) => typeof part === "string").join(".");
    this.#report(path, `${path.at(-1)} must be a list: write [[${header}]], not [${header}]`);
    return [];
  }

  #datasets(value: ConfigValue | undefined): CheckedDataset[] {
    return this.#list(value, ["datasets"]).map((dataset, at): CheckedDataset => {
      const path = ["datasets", at];
      if (!isTable(dataset)) {
        this.#report(path, `a data set must be a table, is ${valueText(dataset)}`);
        return { kind: "folders", settings: {}, subsets: [] };
      }
      const { subsets: list, ...settings } = dataset, subsets = this.#list(list, [...path, "subsets"]);
      const withFile = subsets.filter((subset) => isTable(subset) && "metadata_file" in subset).length;
      if (withFile > 0 && withFile < subsets.length) {
        this.#report(path, "subsets with metadata_file and subsets without are mixed; make two data sets of them");
        return { kind: "folders", settings: {}, subsets: [] };
      }
      // One without subsets is checked as if it had metadata, as in sd-scripts, and then has none.
      const checked = withFile === subsets.length ? "metadata" : "folders", keys = schema[checked];
      return {
        kind: withFile > 0 ? "metadata" : "folders",
        settings: this.#level(settings, path, keys.dataset, ["subsets"]),
        subsets: subsets.map((subset, n) => {
          return this.#level(subset, [...path, "subsets", n], keys.subset, [], keys.required);
        }),
      };
    });
  }

  #level(
    value: ConfigValue,
    path: KeyPath,
    keys: Readonly<Record<string, ValueKind>>,
    others: readonly string[] = [],
    required?: string,
  ): ConfigLevel {
    if (!isTable(value)) {
      this.#report(path, `${path.at(-1)} must be a table, is ${valueText(value)}`);
      return {};
    }
    const read: Record<string, unknown> = {};
    if (required !== undefined && !(required in value)) this.#report([...path, required], `${required} is missing`);
    for (const [key, found] of Object.entries(value)) {
      const kind = Object.hasOwn(keys, key) ? keys[key] : undefined;
      if (kind === undefined) {
        this.#unknown([...path, key], [...Object.keys(keys), ...others]);
        continue;
      }
      const meant = kind.read(found);
      if (meant === undefined) this.#report([...path, key], `${key} must be ${kind.wanted}, is ${valueText(found)}`);
      else read[key] = meant;
    }
    return read;
  }
}
