import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buildNetwork, type Network, type PlannedNetwork } from "./values/network.ts";
import { SafetensorsFile, writeSafetensors } from "../formats/safetensors.ts";
import type { LoraNetwork } from "../lora/network.ts";
import { resolveSamplerName } from "../models/noise/sampler.ts";
import { CompiledSampler } from "../models/sampling.ts";
import { VaeModel } from "../models/vae_model.ts";
import { defineStep, type StepRun, type Store, type Thing } from "../pipeline/mod.ts";
import { bases, samples } from "./things.ts";
import type { LoadedBases } from "./values/bases.ts";
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
export interface SampleOptions<Networks extends NetworkThings> {
  /** The networks that columns may name: `{ network1: things.network1 }`. */
  readonly networks: Networks;
  readonly columns: readonly SampleColumnOptions<keyof Networks & string>[];
  /** Rows of the sheet: what fills `{row}`, and a seed. */
  readonly rows: readonly { readonly text: string; readonly seed: number }[];
  readonly negativePrompt?: string;
  /** Pixels, multiples of 64. */
  readonly width: number;
  readonly height: number;
  /** `ddim`, `euler` or `euler_a`; ddim when left out. */
  readonly sampler?: string;
  /** 30 when left out, as sd-scripts. */
  readonly steps?: number;
  /** 7.5 when left out, as sd-scripts. */
  readonly guidance?: number;
  /** Tokens a prompt may take; 75 when left out (`--max_token_length`). */
  readonly maxTokenLength?: 75 | 150 | 225;
  /** Also what the base alone answers to every column's prompt: what `measureRetention` compares with. */
  readonly baselines?: boolean;
}

/** Makes pictures with the base, single networks and stacks of them: the same prompts and seeds for every column. */
export function sample<const Networks extends NetworkThings>(options: SampleOptions<Networks>) {
  const { networks, ...rest } = options;
  const columns = options.baselines ? withBaselines(options.columns) : options.columns;
  resolveSamplerName(options.sampler ?? "ddim");
  for (const [name, value] of Object.entries({ width: options.width, height: options.height })) {
    if (!Number.isInteger(value) || value < 64 || value % 64 !== 0) {
      throw new RangeError(`Cannot sample: ${name} is ${value} pixels, must be a multiple of 64 (8 latents)`);
    }
  }
  const needs = { bases, ...networks };
  return defineStep<typeof needs, { samples: typeof samples }>({
    name: "sample",
    version: 1,
    options: rest,
    needs,
    gives: { samples },
    plan: () => ({
      figures: { pictures: columns.length * options.rows.length },
      lines: [`${columns.map((column) => column.name).join(", ")}: ${options.rows.length} pictures each`],
    }),
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
    store: sheetStore,
  });
}

async function sampleAll(
  bases: LoadedBases,
  networks: Readonly<Record<string, Network>>,
  options: SampleOptions<NetworkThings>,
  run: StepRun,
): Promise<SampleSheet> {
  const { device, network1: base, tokenizer1: tokenizer } = bases;
  const { columns, rows, negativePrompt = "", width, height, steps = 30, guidance = 7.5, maxTokenLength = 75 } =
    options;
  const vae = await VaeModel.load(base.folder, device),
    size = { width: width / vae.factor, height: height / vae.factor };
  const compiled = new Map<string, { sampler: CompiledSampler; loras: LoraNetwork[] }>();
  const ids = (prompt: string) => tokenizer.chunks(prompt, maxTokenLength).flat();
  const found: SampleColumn[] = [];
  let done = 0;
  try {
    for (const column of columns) {
      const stack = column.networks.map((name) => networks[name]), multiplier = column.multiplier ?? 1;
      const key = JSON.stringify([stack.map((network) => network.options), multiplier]);
      let ready = compiled.get(key);
      if (!ready) {
        const loras = stack.map((network, i) => buildNetwork(`sampled network ${i + 1}`, base, network.options));
        ready = {
          loras,
          sampler: await CompiledSampler.make(device, base, {
            sampler: resolveSamplerName(options.sampler ?? "ddim"),
            steps,
            guidance,
            ...size,
            batch: rows.length,
            tokenRows: maxTokenLength / 75,
            adapters: loras.map((lora) => ({
              textEncoder: lora.adapters("text_encoder", { multiplier }),
              unet: lora.adapters("unet", { multiplier }),
            })),
          }),
        };
        compiled.set(key, ready);
      }
      ready.loras.forEach((lora, i) => device.upload(lora.weights, stack[i].weights));
      const prompts = rows.map((row) => column.prompt.replaceAll("{row}", row.text));
      const latents = await ready.sampler.sample({
        promptIds: prompts.map(ids),
        negativeIds: rows.map(() => ids(negativePrompt)),
        seeds: rows.map((row) => row.seed),
      });
      if (!latents.every((each) => each.every(Number.isFinite))) {
        throw new Error(`Cannot sample ${column.name}: the latents became NaN. Was a network damaged?`);
      }
      const pixels = await vae.decode(latents, size);
      found.push({
        name: column.name,
        prompt: column.prompt,
        networks: column.networks,
        pictures: rows.map((row, i): SampledPicture => ({
          prompt: prompts[i],
          seed: row.seed,
          width,
          height,
          pixels: pixels[i],
        })),
      });
      run.progress({ done: ++done, total: columns.length, unit: "columns", message: column.name });
      run.signal.throwIfAborted();
    }
    return { columns: found };
  } finally {
    vae.free();
    for (const { sampler, loras } of compiled.values()) {
      sampler.free();
      device.free(loras.map((lora) => lora.weights));
    }
  }
}

/** Pictures as bytes in a safetensors file, what they are in JSON. */
const sheetStore: Store<{ readonly samples: SampleSheet }> = {
  save: async ({ samples: { columns } }, folder) => {
    const facts = columns.map(({ pictures, ...column }) => ({
      ...column,
      pictures: pictures.map(({ pixels: _, ...picture }) => picture),
    }));
    await writeFile(join(folder, "pictures.json"), JSON.stringify(facts));
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
