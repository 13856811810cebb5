import { nearestName } from "../../steps/values/nearest_name.ts";
import type { Flag } from "../flags/flag.ts";
import { UsageError } from "../usage_error.ts";
import { isBooleanWord } from "./read_value.ts";

/** A flag as it was given, with the words that belong to it. */
interface Given {
  readonly flag: Flag;
  readonly words: readonly string[];
}

/**
 * Reads a command line by the rules of Python's argparse, which sd-scripts' users know, and writes it so that commander reads the same: each flag by
 * its whole name, each value behind a `=`.
 *
 * A unique beginning stands for a flag; the last of a repeated flag counts; a value may begin with `-` only behind `=`, or if it is a plain negative
 * number. Of two `--pretrained_model_name_or_path` the second is network 2's.
 *
 * @param flags All flags by name.
 * @throws {UsageError} If a word is no flag and no value of one, or if a value is missing or too much.
 * @see https://docs.python.org/3/library/argparse.html
 */
export function argparseWords(args: readonly string[], flags: ReadonlyMap<string, Flag>): string[] {
  const found: Given[] = [];
  for (let at = 0; at < args.length; at++) {
    const word = args[at];
    if (word === "--help" || word === "-h") return ["--help"];
    const equals = word.indexOf("="), name = equals < 0 ? word : word.slice(0, equals);
    const flag = findFlag(name, flags);
    if (!flag) throw strayWord(word, found.at(-1)?.flag, flags);
    if (equals >= 0) {
      if (flag.type === "switch") {
        throw new UsageError(`--${flag.name} is there or not and takes no value: found ${word}`);
      }
      found.push({ flag, words: [word.slice(equals + 1)] });
      continue;
    }
    const words: string[] = [];
    const most = { switch: 0, boolean: 1, list: Infinity, text: 1, integer: 1, number: 1 }[flag.type];
    while (words.length < most && at + 1 < args.length && isValue(args[at + 1], flags)) {
      if (flag.type === "boolean" && !isBooleanWord(args[at + 1])) break;
      words.push(args[++at]);
    }
    if (words.length === 0 && ["text", "integer", "number"].includes(flag.type)) throw missingValue(flag, args[at + 1]);
    found.push({ flag, words });
  }
  return withSecondBase(found, flags).flatMap(({ flag, words }) =>
    words.length === 0 ? [`--${flag.name}`] : words.map((word) => `--${flag.name}=${word}`)
  );
}

/** The flag of that name, or the only one that begins so. */
function findFlag(word: string, flags: ReadonlyMap<string, Flag>): Flag | undefined {
  if (!word.startsWith("--") || word.length < 3) return undefined;
  const name = word.slice(2);
  const spelled = flags.get(name) ?? [...flags.values()].find(({ alias }) => alias === name);
  if (spelled) return spelled;
  const fitting = [...flags.values()].filter((flag) => flag.name.startsWith(name) || flag.alias?.startsWith(name));
  // What a project adds must not make a beginning ambiguous that sd-scripts and the original take for one flag.
  const known = fitting.filter(({ from }) => from !== "own");
  const candidates = known.length > 0 ? known : fitting;
  if (candidates.length > 1) {
    throw new UsageError(
      `${word} could be ${candidates.map((flag) => `--${flag.name}`).join(", ")}; write one of them out`,
    );
  }
  return candidates[0];
}

function isValue(word: string, flags: ReadonlyMap<string, Flag>): boolean {
  if (!word.startsWith("-") || word === "-") return true;
  if (/^-(\d+|\d*\.\d+)$/.test(word)) return true;
  return word.includes(" ") && findFlag(word.split("=")[0], flags) === undefined;
}

function strayWord(word: string, before: Flag | undefined, flags: ReadonlyMap<string, Flag>): UsageError {
  if (word.startsWith("-") && word !== "-" && word !== "--") {
    const name = word.replace(/^-+/, "").split("=")[0];
    return new UsageError(
      `Unknown flag ${word.split("=")[0]}; did you mean --${
        nearestName(name, [...flags.keys(), "help"])
      }? --help lists all flags`,
    );
  }
  const hint = before?.type === "switch"
    ? `--${before.name} is there or not and takes no value`
    : "values stand behind their flags";
  return new UsageError(`${JSON.stringify(word)} belongs to no flag: ${hint}`);
}

function missingValue(flag: Flag, next: string | undefined): UsageError {
  const example = next === undefined ? "" : `; a value that begins with - is given as --${flag.name}=${next}`;
  return new UsageError(
    `--${flag.name} needs a value, found ${next === undefined ? "none" : JSON.stringify(next)}${example}`,
  );
}

/** Gives network 2 the second of two base models, as the original's own example has it; of other repeated flags the last stays. */
function withSecondBase(found: readonly Given[], flags: ReadonlyMap<string, Flag>): Given[] {
  const name = "pretrained_model_name_or_path", bases = found.filter(({ flag }) => flag.name === name);
  const second = flags.get(`${name}_2`)!;
  if (bases.length > 2) {
    throw new UsageError(`--${name} is given ${bases.length} times: the first is network 1's, the second network 2's`);
  }
  if (bases.length === 2 && found.some(({ flag }) => flag === second)) {
    throw new UsageError(`--${name} is given twice, and --${name}_2 as well: network 2 has one base model`);
  }
  const placed = found.map((given) => given === bases[1] ? { ...given, flag: second } : given);
  return placed.filter(({ flag }, at) => placed.findLastIndex((each) => each.flag === flag) === at);
}
