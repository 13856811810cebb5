import { UsageError } from "../../cli/usage_error.ts";
import { nearestName } from "../../steps/values/nearest_name.ts";

/** What a golden's JSON calls settings, by name. */
export type ProbeOptions = Readonly<Record<string, unknown>>;

/** Results that stand beside the settings in a golden's JSON: accepted, and not looked at. */
const goldenResults = ["terms", "norms"];

/**
 * Options of a part from JSON: `settings` is merged in, what stands beside it wins; a golden's results are left out.
 *
 * @param known Names that the part has a use for.
 * @throws {UsageError} If an option is not known; the message has the nearest name.
 * @throws {TypeError} If the JSON is not an object.
 */
export function readOptions(part: string, json: unknown, known: readonly string[]): ProbeOptions {
  if (!isObject(json)) {
    throw new TypeError(`Cannot read the options of ${part}: found ${describe(json)}, wanted an object`);
  }
  const { settings = {}, ...beside } = json;
  if (!isObject(settings)) {
    throw new TypeError(`Cannot read the options of ${part}: settings is ${describe(settings)}, wanted an object`);
  }
  const options: Record<string, unknown> = {};
  for (const [name, value] of Object.entries({ ...settings, ...beside })) {
    // A run's golden lists its steps under the name of the option that counts them.
    if (goldenResults.includes(name) || (name === "steps" && Array.isArray(value))) continue;
    // The optimizers' golden has an object for each optimizer's arguments, the samplers' a list of runs.
    if (!known.includes(name)) throw unknown(part, name, known);
    options[name] = value;
  }
  return options;
}

function unknown(part: string, name: string, known: readonly string[]): UsageError {
  if (known.length === 0) return new UsageError(`Unknown option ${name}: ${part} has no options`);
  return new UsageError(
    `Unknown option ${name} of ${part}. Did you mean ${nearestName(name, known)}? Its options are ${known.join(", ")}`,
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function describe(value: unknown): string {
  return JSON.stringify(value).slice(0, 60);
}

/** An option of the fallback's kind; the fallback when it is left out. */
export function option<T extends number | boolean | string>(options: ProbeOptions, name: string, fallback: T): T {
  const value = options[name];
  if (value === undefined || value === null) return fallback;
  if (typeof value !== typeof fallback) {
    throw new TypeError(`Cannot probe: option ${name} is ${JSON.stringify(value)}, wanted a ${typeof fallback}`);
  }
  return value as T;
}

/** A number from 0 on. */
export function positiveOption(options: ProbeOptions, name: string, fallback: number): number {
  const value = option(options, name, fallback);
  if (!(value >= 0)) throw new RangeError(`Cannot probe: option ${name} is ${value}, wanted a number from 0 on`);
  return value;
}

/** A whole number above 0. */
export function countOption(options: ProbeOptions, name: string, fallback: number): number {
  const value = option(options, name, fallback);
  if (!Number.isInteger(value) || value < 1) {
    throw new RangeError(`Cannot probe: option ${name} is ${value}, wanted a whole number above 0`);
  }
  return value;
}

/** One of a few texts; the first when it is left out. */
export function choiceOption<T extends string>(options: ProbeOptions, name: string, known: readonly T[]): T {
  const value = option<string>(options, name, known[0]);
  const found = known.find((each) => each === value);
  if (found === undefined) {
    throw new RangeError(
      `Cannot probe: option ${name} is ${JSON.stringify(value)}, must be one of ${known.join(", ")}`,
    );
  }
  return found;
}

/** A list of numbers; the fallback when it is left out. */
export function numbersOption(options: ProbeOptions, name: string, fallback: readonly number[]): readonly number[] {
  const value = options[name];
  if (value === undefined || value === null) return fallback;
  if (!Array.isArray(value) || !value.every((each) => typeof each === "number")) {
    throw new TypeError(`Cannot probe: option ${name} is ${JSON.stringify(value)}, wanted a list of numbers`);
  }
  return value;
}
