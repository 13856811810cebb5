import { stat } from "node:fs/promises";
import { readPlainText } from "../formats/plain_file.ts";
import { parseStrictJson } from "../formats/strict_json.ts";

/** What a file of options holds, unchecked. */
export interface ConfigJson {
  /** The file, or what to call it in errors. */
  readonly file: string;
  readonly json: unknown;
}

/** A configuration has some kilobytes. */
const maxFileBytes = 2 ** 20;
/** More than any width, vocabulary or other size of a model. */
const maxCount = 2 ** 20;
/** More than any model of these kinds has levels. */
const maxItems = 16;

/**
 * Reads a JSON file of a model's folder.
 *
 * @throws {Error} If the file cannot be read.
 * @throws {RangeError} If it has more than a MiB.
 * @throws {SyntaxError} If it is not JSON, or an object of it holds a name twice.
 */
export async function readConfigJson(file: string): Promise<ConfigJson> {
  let text: string;
  try {
    const { size } = await stat(file);
    if (size > maxFileBytes) {
      throw new RangeError(
        `Cannot read ${file}: it has ${size} bytes, more than the ${maxFileBytes} of any configuration`,
      );
    }
    text = await readPlainText(file);
  } catch (error) {
    if (error instanceof RangeError) throw error;
    throw new Error(
      `Cannot read ${file}: ${
        (error as Error).message
      }. Expected a Diffusers folder, whose parts have a config.json each`,
      { cause: error },
    );
  }
  try {
    // Refuses what JSON.parse() takes: names that stand twice, and nesting without end.
    parseStrictJson(text);
    return { file, json: JSON.parse(text) };
  } catch (error) {
    throw new SyntaxError(`Cannot read ${file}: not JSON: ${(error as Error).message}`, { cause: error });
  }
}

/**
 * The options of a model's config.json, read strictly: what is set and not known could change the model, so it is an error.
 *
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * const reader = new ConfigReader("unet/config.json", { layers_per_block: 2, dropout: 0 });
 * equal(reader.count("layers_per_block"), 2);
 * reader.only("dropout", [0]);
 * reader.finish();
 * ```
 */
export class ConfigReader {
  private readonly options: Map<string, unknown>;
  private readonly known = new Set<string>();

  /**
   * @param file What to call the file in errors.
   * @throws {TypeError} If the JSON is not an object.
   */
  constructor(readonly file: string, json: unknown) {
    if (typeof json !== "object" || json === null || Array.isArray(json)) {
      throw new TypeError(`Cannot read ${file}: it holds ${describe(json)}, expected an object of options`);
    }
    this.options = new Map(Object.entries(json));
  }

  /**
   * Opens a config.json.
   *
   * @throws {Error} If the file cannot be read.
   * @throws {SyntaxError} If it is not JSON.
   */
  static async open(file: string): Promise<ConfigReader> {
    return new ConfigReader(file, (await readConfigJson(file)).json);
  }

  /** A whole number from 1 to `most`. */
  count(name: string, most = maxCount): number {
    const value = this.take(name);
    return isCount(value) && value <= most ? value : this.fail(name, value, `a whole number from 1 to ${most}`);
  }

  /** One to 16 whole numbers from 1 on. */
  counts(name: string): number[] {
    const value = this.take(name);
    const isList = Array.isArray(value) && value.length > 0 && value.length <= maxItems;
    if (isList && value.every((item) => isCount(item) && item <= maxCount)) return value;
    return this.fail(name, value, `a list of 1 to ${maxItems} whole numbers from 1 to ${maxCount}`);
  }

  /** A number from 0 on; `otherwise` where the option is left out. */
  number(name: string, otherwise: number): number {
    const value = this.take(name) ?? otherwise;
    if (typeof value === "number" && Number.isFinite(value) && value >= 0) return value;
    return this.fail(name, value, "a number from 0 on");
  }

  /** `otherwise` where the option is left out. */
  boolean(name: string, otherwise: boolean): boolean {
    const value = this.take(name) ?? otherwise;
    return typeof value === "boolean" ? value : this.fail(name, value, "true or false");
  }

  /** One of the supported texts. */
  choice<Text extends string>(name: string, supported: readonly Text[]): Text {
    const value = this.take(name);
    return supported.includes(value as Text) ? value as Text : this.unsupported(name, value, supported);
  }

  /** Supported texts, `count` of them. */
  choices<Text extends string>(name: string, supported: readonly Text[], count: number): Text[] {
    const value = this.take(name);
    if (!Array.isArray(value) || value.length !== count) return this.fail(name, value, `a list of ${count}`);
    for (const item of value) if (!supported.includes(item)) this.unsupported(name, item, supported);
    return value;
  }

  /** Checks an option that may be left out (or null) but may have no value other than these. */
  only(name: string, supported: readonly (string | number | boolean)[]): void {
    const value = this.take(name);
    if (value !== undefined && value !== null && !supported.includes(value as string)) {
      this.unsupported(name, value, supported);
    }
  }

  /** Accepts options that do not change what the model computes. */
  ignore(...names: readonly string[]): void {
    for (const name of names) this.known.add(name);
  }

  /**
   * Call last.
   *
   * @throws {RangeError} If an option is set that nobody asked for; null, false and names that start with `_` do not count.
   */
  finish(): void {
    for (const [name, value] of this.options) {
      if (this.known.has(name) || name.startsWith("_") || value === null || value === false) continue;
      throw new RangeError(
        `Cannot use ${this.file}: unknown option ${name} is ${describe(value)}; this kind of model is not supported`,
      );
    }
  }

  /** @throws {RangeError} Naming the file and the option. */
  fail(name: string, value: unknown, expected: string): never {
    const found = value === undefined ? "missing" : describe(value);
    const message = `Cannot use ${this.file}: ${name} is ${found}, expected ${expected}`;
    throw typeof value === "number" ? new RangeError(message) : new TypeError(message);
  }

  private unsupported(name: string, value: unknown, supported: readonly unknown[]): never {
    const found = value === undefined ? "missing" : describe(value);
    throw new RangeError(
      `Cannot use ${this.file}: ${name} is ${found}, supported: ${supported.map(describe).join(", ") || "none"}`,
    );
  }

  private take(name: string): unknown {
    this.known.add(name);
    return this.options.get(name);
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

function describe(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
