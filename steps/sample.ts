import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "../formats/atomic_file.ts";
import { SafetensorsFile, writeSafetensors } from "../formats/safetensors.ts";
import { defineStep, type StepRun, type Store, type Thing } from "../pipeline/mod.ts";
import { bases, samples } from "./things.ts";
import { type LoadedBases, type OpenedBases, openTokenizer } from "./values/bases.ts";
import { checkOnAdapter } from "./values/check_adapter.ts";
import { checkOptions, type OptionNames } from "./values/check_options.ts";
import type { Network, PlannedNetwork } from "./values/network.ts";
import { planPictures } from "./values/picture_memory.ts";
import { promptLayout } from "./values/picture_stacks.ts";
import { checkPictureOptions, type PictureOptions, PictureSampler } from "./values/picture_sampler.ts";
import type { SampleColumn, SampledPicture, SampleSheet } from "./values/sample_sheet.ts";

/** Networks that a step takes, under the names that its options use. */
export type NetworkThings = { readonly [name: string]: Thing<Network, PlannedNetwork> };

/** One column of pictures: a stack of networks and a prompt. */
export interface SampleColumnOptions<Name extends string = string> {
  readonly name: string;
  /** `{row}` stands for each row's text. */
  readonly prompt: string;
  /** Networks that act, by name, one after another; none is the base alone. */
  readonly networks: readonly Name[];
  /** Strength of each; 1 when left out. */
  readonly multiplier?: number;
}

/** The columns, and behind them the base's answer to every prompt that no column without networks asks. */
function withBaselines(columns: readonly SampleColumnOptions[]): SampleColumnOptions[] {
  const all = [...columns];
  for (const { prompt } of columns) {
    if (all.some((column) => column.prompt === prompt && column.networks.length === 0)) continue;
    all.push({ name: `base: ${prompt}`, prompt, networks: [] });
  }
  return all;
}

/** Options of `sample`. */
export interface SampleOptions<Networks extends NetworkThings> extends PictureOptions {
  /** The networks that columns may name: `{ network1: things.network1 }`. */
  readonly networks: Networks;
  readonly columns: readonly SampleColumnOptions<keyof Networks & string>[];
  /** Rows of the sheet: what fills `{row}`, and a seed. */
  readonly rows: readonly { readonly text: string; readonly seed: number }[];
  /** Also what the base alone answers to every column's prompt: what `measureRetention` compares with. */
  readonly baselines?: boolean;
}

const optionNames: OptionNames<SampleOptions<NetworkThings>> = {
  networks: true,
  columns: true,
  rows: true,
  negativePrompt: true,
  width: true,
  height: true,
  sampler: true,
  steps: true,
  guidance: true,
  predictionType: true,
  baselines: true,
};
const columnNames: OptionNames<SampleColumnOptions> = { name: true, prompt: true, networks: true, multiplier: true };

/** Makes pictures with the base, single networks and stacks of them: the same prompts and seeds for every column. */
export function sample<const Networks extends NetworkThings>(options: SampleOptions<Networks>) {
  const stepName = "sample";
  checkOptions<SampleOptions<NetworkThings>>(stepName, options, optionNames);
  const { networks, ...rest } = options;
  for (const [at, column] of options.columns.entries()) {
    if (options.columns.findIndex(({ name }) => name === column.name) !== at) {
      throw new TypeError(`Cannot sample: two columns are named ${JSON.stringify(column.name)}`);
    }
    checkOptions<SampleColumnOptions>(stepName, column, columnNames, `columns[${at}]`);
    const missing = column.networks.find((name) => !Object.hasOwn(networks, name));
    if (missing !== undefined) {
      throw new TypeError(
        `Cannot make column ${JSON.stringify(column.name)}: networks has no ${missing}, only ${
          Object.keys(networks).join(", ")
        }`,
      );
    }
  }
  const columns = options.baselines ? withBaselines(options.columns) : options.columns;
  checkPictureOptions(options);
  if (!options.columns.length || !options.rows.length) {
    throw new RangeError(
      `Cannot sample: ${options.columns.length} columns and ${options.rows.length} rows, wanted one at least`,
    );
  }
  for (const { seed } of options.rows) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new RangeError(`Cannot sample: seed is ${seed}, must be a whole number from 0 on`);
    }
  }
  const needs = { bases, ...networks };
  return defineStep<typeof needs, { samples: typeof samples }>({
    name: stepName,
    // Since 2 brackets in prompts are weights.
    version: 2,
    options: rest,
    seeds: { rows: options.rows.map(({ seed }) => seed) },
    needs,
    gives: { samples },
    plan: async (values) => {
      // Typed one by one where the step is made, as in run().
      const known = values as unknown as Readonly<Record<string, PlannedNetwork>> & { readonly bases: OpenedBases };
      const tokenizer = await openTokenizer(known.bases.network1), { rows, negativePrompt = "" } = options;
      const prompted = columns.map(({ name, prompt, networks }) => {
        return { name, prompt, networks, prompts: rows.map(({ text }) => rowPrompt(prompt, text)) };
      });
      const batches = columns.map(({ networks, multiplier = 1 }, at) => ({
        stack: networks.map((name) => ({ network: known[name], multiplier })),
        layout: promptLayout(tokenizer, [negativePrompt, ...prompted[at].prompts]),
      }));
      const { programs, peakBytes } = planPictures(known.bases, options, batches, rows.length);
      const { width, height } = options;
      return {
        gives: { samples: { columns: prompted, width, height } },
        figures: { pictures: columns.length * options.rows.length, peakGpuBytes: peakBytes },
        lines: [`${columns.map((column) => column.name).join(", ")}: ${options.rows.length} pictures each`],
        check: () => checkOnAdapter(programs, peakBytes),
      };
    },
    run: async (values, run) => {
      // Things by generic names are typed one by one where the step is made; inside they are a plain record.
      const named = values as unknown as Readonly<Record<string, Network>> & { readonly bases: LoadedBases };
      return {
        samples: await sampleAll(named.bases, named, {
          ...options as unknown as SampleOptions<NetworkThings>,
          columns,
        }, run),
      };
    },
    store: sampleStore,
  });
}

/** A column's prompt in one row. */
function rowPrompt(prompt: string, text: string): string {
  return prompt.replaceAll("{row}", () => text);
}

async function sampleAll(
  bases: LoadedBases,
  networks: Readonly<Record<string, Network>>,
  { columns, rows, ...options }: SampleOptions<NetworkThings>,
  run: StepRun,
): Promise<SampleSheet> {
  using sampler = await PictureSampler.open(bases, options);
  const found: SampleColumn[] = [];
  for (const { name, prompt, networks: names, multiplier = 1 } of columns) {
    const prompts = rows.map(({ text, seed }) => ({ prompt: rowPrompt(prompt, text), seed }));
    const stack = names.map((each) => ({ network: networks[each], multiplier }));
    const pictures = await sampler.sample(stack, prompts, { signal: run.signal });
    found.push({ name, prompt, networks: names, pictures });
    run.progress({ done: found.length, total: columns.length, unit: "columns", message: name });
    run.signal.throwIfAborted();
  }
  return { columns: found };
}

/** Keeps samples: pictures as bytes in a safetensors file, what they are in JSON. For steps that give `samples`. */
export const sampleStore: Store<{ readonly samples: SampleSheet }> = {
  save: async ({ samples: { columns } }, folder) => {
    const facts = columns.map(({ pictures, ...column }) => ({
      ...column,
      pictures: pictures.map(({ pixels: _, ...picture }) => picture),
    }));
    await writeFileAtomically(join(folder, "pictures.json"), [new TextEncoder().encode(JSON.stringify(facts))]);
    await writeSafetensors(
      join(folder, "pictures.safetensors"),
      columns.flatMap(({ pictures }, c) =>
        pictures.map(({ pixels, width, height }, p) => ({
          name: `${c}.${p}`,
          type: "U8" as const,
          shape: [height, width, 3],
          bytes: new Uint8Array(pixels),
        }))
      ),
    );
  },
  load: async (folder) => {
    await using file = await SafetensorsFile.open(join(folder, "pictures.safetensors"));
    const facts: SampleColumn[] = JSON.parse(await readFile(join(folder, "pictures.json"), "utf8"));
    const columns: SampleColumn[] = [];
    for (const [c, { pictures, ...column }] of facts.entries()) {
      const loaded: SampledPicture[] = [];
      for (const [p, picture] of pictures.entries()) loaded.push({ ...picture, pixels: await file.bytes(`${c}.${p}`) });
      columns.push({ ...column, pictures: loaded });
    }
    return { samples: { columns } };
  },
};
