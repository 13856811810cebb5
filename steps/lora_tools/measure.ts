import project from "../../deno.json" with { type: "json" };
import { type LoraFile, type LoraFileModule, readLora } from "../../formats/lora_file.ts";
import {
  type GroupInterference,
  groupInterference,
  type ModuleInterference,
  moduleInterference,
} from "../../lora/interference.ts";
import { blockName, partName } from "../../lora/strength.ts";
import { hashLargeFile } from "../values/file_hashes.ts";
import { blockOrder } from "./block_order.ts";

/** One of the two measured files. */
export interface MeasuredFile {
  readonly file: string;
  readonly sha256: string;
  readonly modules: number;
  /** Names of the modules that the other file has not: they meet nothing. */
  readonly alone: readonly string[];
}

/** A module that both files have. */
export interface MeasuredModule extends ModuleInterference {
  readonly block: string;
}

/** How the weights of two LoRAs interfere: in all, in parts of the model, in its blocks, and module by module. */
export interface WeightInterference {
  readonly all: GroupInterference;
  readonly parts: readonly GroupInterference[];
  readonly blocks: readonly GroupInterference[];
  readonly modules: readonly MeasuredModule[];
}

/** How two LoRA files interfere, by their weights. */
export interface Measurement extends WeightInterference {
  /** Version of dualora. */
  readonly dualora: string;
  readonly files: readonly [MeasuredFile, MeasuredFile];
}

/** Groups of modules by what they lie in, blocks in the model's order. */
export function grouped<Module extends { readonly name: string }, Group extends { readonly name: string }>(
  modules: readonly Module[],
  summarize: (name: string, modules: readonly Module[]) => Group,
): { readonly all: Group; readonly parts: readonly Group[]; readonly blocks: readonly Group[] } {
  const groups = (of: (name: string) => string) =>
    [...Map.groupBy(modules, ({ name }) => of(name))].map(([name, inside]) => summarize(name, inside));
  return {
    all: summarize("all", modules),
    parts: groups(partName),
    blocks: groups(blockName).toSorted((a, b) => blockOrder(a.name) - blockOrder(b.name)),
  };
}

/** Compares the modules that two LoRAs of one base both have. */
export function compareModules(one: readonly LoraFileModule[], two: readonly LoraFileModule[]): WeightInterference {
  const others = new Map(two.map((module) => [module.name, module]));
  return weightInterference(
    one.filter(({ name }) => others.has(name))
      .map((module) => moduleInterference(module, others.get(module.name)!)),
  );
}

/** Sums compared modules up. */
export function weightInterference(compared: readonly ModuleInterference[]): WeightInterference {
  const modules = compared.map((module) => ({ ...module, block: blockName(module.name) }));
  return { ...grouped(modules, groupInterference), modules };
}

/**
 * What reports say of the two files.
 *
 * @param names Of their modules.
 */
export async function measuredFiles(
  files: readonly [string, string],
  names: readonly [readonly string[], readonly string[]],
): Promise<[MeasuredFile, MeasuredFile]> {
  const measured = async (k: 0 | 1): Promise<MeasuredFile> => {
    const own = names[k], others = new Set(names[1 - k]);
    return {
      ...{ file: files[k], sha256: await hashLargeFile(files[k]), modules: own.length },
      alone: own.filter((name) => !others.has(name)),
    };
  };
  return [await measured(0), await measured(1)];
}

/**
 * Measures how two LoRA files of kohya's format interfere, from their weights alone, at a strength of 1 each: see docs/measure.md.
 *
 * @param onModule Hears of each module that is done.
 * @throws {TensorFileError} If a file is no sound file of tensors.
 * @throws {TypeError} If it holds other tensors than a LoRA file's.
 * @throws {RangeError} If the files have no module in common, a module is for layers of different sizes, or a weight is no number.
 */
export async function measureLoras(
  path1: string,
  path2: string,
  onModule: (name: string, done: number, total: number) => void = () => {},
): Promise<Measurement> {
  const loras = [await readLora(path1), await readLora(path2)];
  const [one, two] = loras.map(({ modules }) => new Map(modules.map((module) => [module.name, module])));
  const names = [...one.keys()].filter((name) => two.has(name));
  const fail = (message: string) => new RangeError(`Cannot measure ${path1} with ${path2}: ${message}`);
  if (names.length === 0) {
    const first = (lora: LoraFile) => lora.modules[0]?.name ?? "none at all";
    throw fail(
      `they have no module in common (${first(loras[0])} … and ${first(loras[1])} …); name two LoRAs of one base`,
    );
  }
  const modules = names.map((name, done) => {
    try {
      const found = moduleInterference(one.get(name)!, two.get(name)!);
      onModule(name, done + 1, names.length);
      return found;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw fail(`${error.message}; name two sound LoRAs of one base`);
    }
  });
  return {
    dualora: project.version,
    files: await measuredFiles([path1, path2], [[...one.keys()], [...two.keys()]]),
    ...weightInterference(modules),
  };
}

/** A measurement as a table for people. */
export function measurementText({ files, all, parts, blocks, modules }: Measurement): string {
  const silence = silenceText(modules);
  const heads = ["modules", "rows", "chance", "columns", "chance", "largest", "cosine", "2 in 1", "1 in 2"];
  const line = (name: string, cells: readonly string[]) =>
    [name.padEnd(16), ...cells.map((cell) => cell.padStart(8))].join(" ");
  const group = (each: GroupInterference) => line(each.name, groupCells(each));
  return [
    ...files.map(({ file, modules }, k) => `${k + 1}: ${file}, ${modules} LoRA modules`),
    ...silence === null ? [] : ["", silence],
    "",
    line("", heads),
    group(all),
    ...(parts.length > 1 ? parts.map(group) : []),
    "",
    ...blocks.map(group),
    "",
    ...measurementNotes({ files, all }),
  ].join("\n");
}

/** Says that a file changes nothing at all where both have modules, so that zeros and dashes are not taken for "no interference"; null where both change something. */
export function silenceText(modules: readonly Pick<MeasuredModule, "norms">[]): string | null {
  const silent = [0, 1].filter((k) => modules.every(({ norms }) => norms[k] === 0));
  if (modules.length === 0 || silent.length === 0) return null;
  const why = "up or down is 0 in every one, as before a training";
  if (silent.length === 2) {
    return `Neither file changes anything in the modules that both have (${why}): there is nothing to measure, and zeros and dashes do not say that they get along.`;
  }
  const [k] = silent;
  return `File ${k + 1} changes nothing in the modules that both have (${why}): file ${
    2 - k
  } has nothing to get in the way of, and zeros and dashes do not say that they get along.`;
}

/** A group's figures, in the order of the table: modules, rows, their chance, columns, their chance, the largest cosine of rows, cosine, crosstalk. */
export function groupCells(group: GroupInterference): string[] {
  const { modules, rows, rowsByChance, columns, columnsByChance, largestRowCosine, cosine, crosstalk } = group;
  const figures = [rows, rowsByChance, columns, columnsByChance, rows === null ? null : largestRowCosine, cosine];
  return [String(modules), ...[...figures, ...crosstalk].map(interferenceText)];
}

/** `0.123`; a dash where a figure is not defined. */
export function interferenceText(value: number | null): string {
  // No −0.000.
  return value === null ? "–" : (Math.abs(value) < 5e-4 ? 0 : value).toFixed(3);
}

/** What the figures mean. */
export const measurementKey: readonly string[] = [
  "rows, columns: mean cos² of the principal angles between what the files read, and write; 0 orthogonal, 1 the same space.",
  "chance: what random spaces of these ranks have. largest: cosine of the smallest angle between rows.",
  "cosine: of the changes of weights. 2 in 1: how strongly 2 answers to what 1 reads, by 1's own answer; 1 in 2 the other way.",
];

/** What the figures mean, and what they leave out. */
export function measurementNotes({ files, all }: Pick<Measurement, "files" | "all">): string[] {
  const shown = 3;
  const alone = files.flatMap(({ alone }, k) => {
    if (alone.length === 0) return [];
    const more = alone.length > shown ? ` and ${alone.length - shown} more` : "";
    return [`Only in file ${k + 1}, left out: ${alone.length} modules, ${alone.slice(0, shown).join(", ")}${more}.`];
  });
  const zero = all.withoutEffect === 0
    ? []
    : [`In ${all.withoutEffect} modules one file changes nothing: no angles, left out of the means.`];
  return [
    ...measurementKey,
    ...zero,
    ...alone,
  ];
}
