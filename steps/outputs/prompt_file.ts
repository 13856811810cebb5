import { extname } from "node:path";
import { parse, TomlError } from "smol-toml";
import { readPlainText } from "../../formats/plain_file.ts";
import { InputError } from "../../pipeline/mod.ts";
import { tomlLines } from "../dataset_config/toml_lines.ts";

/** A picture to make while training, as sd-scripts' prompt files describe it. */
export interface SamplePrompt {
  readonly prompt: string;
  readonly negativePrompt: string;
  /** Pixels as they were given; 512 when left out. */
  readonly width: number;
  readonly height: number;
  readonly steps: number;
  readonly guidance: number;
  /** Null: none was given. */
  readonly seed: number | null;
  readonly sampler: string | null;
  /** Its number in the names of pictures: of its line, from 0, comments and empty ones counted; else of its place in the list. */
  readonly place: number;
}

const usual: Omit<SamplePrompt, "place"> = {
  prompt: "",
  negativePrompt: "",
  width: 512,
  height: 512,
  steps: 30,
  guidance: 7.5,
  seed: null,
  sampler: null,
};

/** A file of prompts that cannot be used. */
export class PromptFileError extends InputError {
  override name = "PromptFileError";
  constructor(path: string, where: string, problem: string, options?: ErrorOptions) {
    super(`Cannot read the prompts ${path}${where === "" ? "" : `, ${where}`}: ${problem}`, options);
  }
}

/** Options of a line by their words; `ne` and `ss` are of other releases. */
const lineOptions: Readonly<Record<string, keyof SamplePrompt>> = {
  w: "width",
  h: "height",
  d: "seed",
  s: "steps",
  l: "guidance",
  n: "negativePrompt",
  ne: "negativePrompt",
  ss: "sampler",
};

/** The same by the keys that TOML and JSON have. */
const keys: Readonly<Record<string, keyof SamplePrompt>> = {
  prompt: "prompt",
  negative_prompt: "negativePrompt",
  width: "width",
  height: "height",
  sample_steps: "steps",
  scale: "guidance",
  seed: "seed",
  sample_sampler: "sampler",
};

/**
 * Reads a file of prompts as sd-scripts 0.6.4 does: a prompt a line, such as `a cat --n blurry --w 512 --h 768 --d 1 --l 7.5 --s 28`, lines
 * that begin with # left out; or, as its later releases, `.toml` with `[prompt]` and `[[prompt.subset]]`; `.json` with a list of either.
 *
 * @param check Looks at each prompt; a `RangeError` that it throws becomes one of the file, with the prompt's line.
 * @throws {PromptFileError} Naming the line or place, if an option is unknown or its value is none, or there is no prompt.
 */
export async function readPromptFile(path: string, check: PromptCheck = () => {}): Promise<SamplePrompt[]> {
  const text = await readPlainText(path).catch((error) => {
    throw new PromptFileError(path, "", error.code === "ENOENT" ? "there is no such file" : error.message, {
      cause: error,
    });
  });
  const found = promptsOf(path, text);
  if (found.length === 0) throw new PromptFileError(path, "", "it has no prompt");
  for (const { prompt, where } of found) {
    try {
      check(prompt);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new PromptFileError(path, where, error.message, { cause: error });
    }
  }
  return found.map(({ prompt }) => prompt);
}

/** Throws a `RangeError` for a prompt that cannot be sampled. */
type PromptCheck = (prompt: SamplePrompt) => void;

/** A prompt and where in its file it stands. */
interface PlacedPrompt {
  readonly prompt: SamplePrompt;
  readonly where: string;
}

function promptsOf(path: string, text: string): PlacedPrompt[] {
  switch (extname(path).toLowerCase()) {
    case ".toml": {
      const prompt = record(parsed(path, () => parse(text)))?.prompt, { subset, ...shared } = record(prompt) ?? {};
      if (!Array.isArray(subset)) throw new PromptFileError(path, "", "it has no [[prompt.subset]]");
      const lineOf = tomlLines(text);
      return subset.map((each, at) => {
        const where = `line ${lineOf(["prompt", "subset", at])}, prompt.subset ${at + 1}`;
        return keyedPrompt({ ...shared, ...record(each) }, path, where, at);
      });
    }
    case ".json": {
      const list = parsed(path, () => JSON.parse(text));
      if (!Array.isArray(list)) throw new PromptFileError(path, "", "it holds no list of prompts");
      return list.map((each, place) => {
        const where = `prompt ${place + 1}`;
        if (typeof each === "string") return linePrompt(each, path, where, place);
        if (!record(each)) throw new PromptFileError(path, where, "it is neither a text nor an object");
        return keyedPrompt(each, path, where, place);
      });
    }
    default:
      return text.split(/\r?\n/).flatMap((each, place) => {
        const line = each.trim();
        return line === "" || line.startsWith("#") ? [] : [linePrompt(line, path, `line ${place + 1}`, place)];
      });
  }
}

function parsed(path: string, parse: () => unknown): unknown {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof TomlError)) throw error;
    const where = error instanceof TomlError ? `line ${error.line}, column ${error.column}` : "";
    throw new PromptFileError(path, where, (error as Error).message.split("\n")[0], { cause: error });
  }
}

function record(value: unknown): Record<string, unknown> | null {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value as never : null;
}

function linePrompt(line: string, path: string, where: string, place: number): PlacedPrompt {
  const [prompt, ...options] = line.split(" --"), found: Record<string, unknown> = { prompt: prompt.trim() };
  for (const option of options) {
    const [, word, value] = /^(\w+)\s+(.+)$/.exec(option.trim()) ?? [, option.trim(), ""];
    const name = lineOptions[`${word}`.toLowerCase()];
    if (name === undefined) {
      throw new PromptFileError(path, where, `unknown option --${word}; options are ${words(lineOptions)}`);
    }
    const isText = name === "negativePrompt" || name === "sampler";
    const number = value === "" ? NaN : Number(value);
    // What is no number stays as it is written, for the message.
    found[name] = isText || Number.isNaN(number) ? value : number;
  }
  return checked(found, path, where, place);
}

function keyedPrompt(given: Record<string, unknown>, path: string, where: string, place: number): PlacedPrompt {
  const found: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(given)) {
    if (!Object.hasOwn(keys, key)) {
      throw new PromptFileError(path, where, `unknown key ${key}; keys are ${Object.keys(keys).join(", ")}`);
    }
    found[keys[key]] = value;
  }
  return checked(found, path, where, place);
}

function words(options: Readonly<Record<string, unknown>>): string {
  return Object.keys(options).map((word) => `--${word}`).join(", ");
}

function checked(given: Record<string, unknown>, path: string, where: string, place: number): PlacedPrompt {
  const whole = { ...usual, ...given, place };
  for (const [name, value] of Object.entries(given)) {
    const isWhole = ["width", "height", "steps", "seed"].includes(name);
    const fits = typeof usual[name as keyof typeof usual] === "number" || name === "seed"
      ? Number.isFinite(value) && (!isWhole || Number.isSafeInteger(value) && value as number >= 0)
      : typeof value === "string";
    if (fits) continue;
    const wanted = isWhole ? "a whole number from 0 on" : name === "guidance" ? "a number" : "a text";
    throw new PromptFileError(path, where, `${name} is ${JSON.stringify(value) ?? value}, must be ${wanted}`);
  }
  return { prompt: whole as SamplePrompt, where };
}
