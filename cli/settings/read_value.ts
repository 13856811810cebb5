import type { Flag } from "../flags/flag.ts";
import { UsageError } from "../usage_error.ts";
import { pythonFloat, pythonInt } from "./python_numbers.ts";

/**
 * A flag's value from a word of the command line.
 *
 * @param where How errors name the flag: `--seed`, or a file and its key.
 * @throws {UsageError} If the word is no such value, or not one of the flag's choices.
 */
export function readWord(flag: Flag, word: string, where = `--${flag.name}`): string | number | boolean {
  const fail = (wanted: string) => {
    throw new UsageError(`${where} is ${JSON.stringify(word)}, must be ${wanted}`);
  };
  switch (flag.type) {
    case "integer": {
      const found = pythonInt(word);
      if (found === undefined) return fail(wholeNumberHint(word));
      return checkChoice(flag, found, where);
    }
    case "number":
      return pythonFloat(word) ?? fail("a number");
    case "boolean":
    case "switch": {
      const found = booleans.get(word.trim().toLowerCase());
      return found ?? fail("True or False");
    }
    case "list":
      return word;
    case "text":
      return checkChoice(flag, word, where);
  }
}

/** Words of a flag that may be given or not; an empty one is false, as Python's `bool("")`. */
const booleans = new Map([["true", true], ["1", true], ["false", false], ["0", false], ["", false]]);

/** Whether a word is a value of a `boolean` flag, which may stand behind it. */
export function isBooleanWord(word: string): boolean {
  return word !== "" && booleans.has(word.toLowerCase());
}

/**
 * A flag's value from a settings file. A text is read like a word of the command line.
 *
 * @param where Names the file and the key in errors.
 * @throws {UsageError} If the flag has no such values.
 */
export function readTomlValue(
  flag: Flag,
  value: unknown,
  where: string,
): string | number | boolean | readonly string[] {
  const fail = (wanted: string) => {
    throw new UsageError(`${where} is ${tomlText(value)}, must be ${wanted}`);
  };
  switch (flag.type) {
    case "switch":
      return typeof value === "boolean" ? value : fail("true or false");
    case "boolean":
      if (typeof value === "boolean") return value;
      return typeof value === "string" || typeof value === "number"
        ? readWord(flag, String(value), where)
        : fail("true or false");
    case "integer":
      if (typeof value === "string") return readWord(flag, value, where);
      return typeof value === "number" && Number.isInteger(value)
        ? checkChoice(flag, value, where)
        : fail("a whole number");
    case "number":
      if (typeof value === "string") return readWord(flag, value, where);
      return typeof value === "number" ? value : fail("a number");
    case "list":
      if (!Array.isArray(value)) return fail(`a list of texts, such as ["conv_dim=4"]`);
      return value.every((each) => typeof each === "string") ? value : fail("a list of texts");
    case "text":
      if (typeof value === "string") return readWord(flag, value, where);
      // A size is written as a number or a list, too.
      if (typeof value === "number") return readWord(flag, String(value), where);
      if (Array.isArray(value) && value.every((each) => typeof each === "number")) {
        return readWord(flag, value.join(","), where);
      }
      return fail("a text");
  }
}

function checkChoice<Value extends string | number>({ choices }: Flag, value: Value, where: string): Value {
  if (choices && !choices.includes(value)) {
    throw new UsageError(`${where} is ${JSON.stringify(value)}, must be ${listText(choices)}`);
  }
  return value;
}

function listText(choices: readonly (string | number)[]): string {
  return choices.length > 1 ? `${choices.slice(0, -1).join(", ")} or ${choices.at(-1)}` : `${choices[0]}`;
}

function wholeNumberHint(word: string): string {
  const value = pythonFloat(word);
  return Number.isSafeInteger(value) ? `a whole number written in digits, such as ${value}` : "a whole number";
}

function tomlText(value: unknown): string {
  return value instanceof Date ? "a date" : JSON.stringify(value);
}
