import type { LayerInfo } from "../models/source.ts";
import { blockIndex, type BlockOptions, blockSettings } from "./blocks.ts";

/** The part of Stable Diffusion that a module belongs to. */
export type Part = "text_encoder" | "unet";

/** Rank and alpha of one module. */
export interface ModuleSize {
  readonly rank: number;
  readonly alpha: number;
}

/** What a network is made of. sd-scripts' flags are named in brackets. */
export interface LoraOptions {
  /** Rank of linear and 1×1 modules (network_dim). */
  readonly rank: number;
  /** Scale is alpha / rank (network_alpha); the rank when left out. */
  readonly alpha?: number;
  /** Rank of 3×3 convolutions (conv_dim); without it the ResNets' layers get no modules. */
  readonly convRank?: number;
  /** alpha of 3×3 convolutions (conv_alpha); 1 when left out. */
  readonly convAlpha?: number;
  /** What single blocks of the UNet have of their own. */
  readonly blocks?: BlockOptions;
  /** Rank, alpha or both of single modules, by kohya's names; they win over everything else. */
  readonly modules?: Readonly<Record<string, Partial<ModuleSize>>>;
  /** Makes the modules that `modules` names, and no others (dim_from_weights). */
  readonly namedModulesOnly?: boolean;
  /**
   * Freezes all down projections to a place in one orthonormal basis, 0, 1, …; trained from random values when left out. Networks at different places, of equal
   * ranks, read disjoint directions; see `orthonormalDown`.
   */
  readonly orthonormalPlace?: number;
  /** Share of a module's inner activations that a training step leaves out (dropout); 0 when left out. */
  readonly dropout?: number;
  /** Share of ranks that each sample of a training step leaves out (rank_dropout); 0 when left out. */
  readonly rankDropout?: number;
  /** Share of modules that a training step leaves out (module_dropout); 0 when left out. */
  readonly moduleDropout?: number;
}

/** A module to be made. */
export interface PlannedModule extends ModuleSize {
  /** kohya's name. */
  readonly name: string;
  readonly part: Part;
  readonly layer: LayerInfo;
  /** Factor of its learning rate. */
  readonly rateWeight: number;
}

/** Layers of each part, as the models registered them. */
export type PartLayers = Readonly<Partial<Record<Part, readonly LayerInfo[]>>>;

const families: Readonly<Record<Part, readonly string[]>> = {
  text_encoder: ["CLIPAttention", "CLIPMLP"],
  unet: ["Transformer2DModel"],
};
const convolutionFamilies = ["ResnetBlock2D", "Downsample2D", "Upsample2D"];
const prefixes: Readonly<Record<Part, string>> = { text_encoder: "lora_te", unet: "lora_unet" };

/** kohya's name of the module beside a layer. */
export function moduleName(part: Part, { path }: Pick<LayerInfo, "path">): string {
  return `${prefixes[part]}_${path.replaceAll(".", "_")}`;
}

/**
 * The modules of a network, in kohya's order.
 *
 * @param network Its name, for errors.
 * @throws {RangeError} If an option is out of range, a module that `modules` names has no layer, or nothing is left to train.
 */
export function planModules(network: string, layers: PartLayers, options: LoraOptions): PlannedModule[] {
  checkLoraOptions(network, options);
  const sizeOf = sizes(options), { modules = {} } = options, left = new Set(Object.keys(modules));
  const planned: PlannedModule[] = [];
  for (const part of ["text_encoder", "unet"] as const) {
    for (const layer of layers[part] ?? []) {
      const name = moduleName(part, layer);
      const isConvolutional = part === "unet" && convolutionFamilies.includes(layer.family);
      if (!families[part].includes(layer.family) && !isConvolutional) continue;
      const size = sizeOf(name, part, layer, isConvolutional);
      left.delete(name);
      if (size.rank > 0) planned.push({ name, part, layer, ...size });
    }
  }
  const stranger = [...left].find((name) => layers[name.startsWith(prefixes.unet) ? "unet" : "text_encoder"]?.length);
  if (stranger !== undefined) {
    throw new RangeError(`Cannot make ${network}: the base model has no layer for ${stranger}; is it of another kind?`);
  }
  if (!planned.length) {
    throw new RangeError(`Cannot make ${network}: the base model has no layer that a LoRA module fits`);
  }
  return planned;
}

/** Rank, alpha and rate of each module; rank 0 for those that are not made. */
function sizes(options: LoraOptions) {
  const { rank, alpha = rank, convRank, convAlpha = 1, modules = {}, namedModulesOnly = false } = options;
  const blocks = options.blocks
    ? blockSettings(options.blocks, { rank, alpha, ...(convRank === undefined ? {} : { convRank }), convAlpha })
    : null;
  const hasConvolutions = convRank !== undefined || options.blocks?.convRanks !== undefined;
  return (name: string, part: Part, { kernel }: LayerInfo, isConvolutional: boolean) => {
    const block = part === "unet" ? blocks?.[blockIndex(name)] : undefined, rateWeight = block?.rateWeight ?? 1;
    const named = Object.hasOwn(modules, name) ? modules[name] : null;
    if (named === null && namedModulesOnly) return { rank: 0, alpha, rateWeight };
    const own = kernel > 1
      ? { rank: block?.convRank ?? convRank ?? 0, alpha: block?.convAlpha ?? convAlpha }
      : { rank: block?.rank ?? rank, alpha: block?.alpha ?? alpha };
    const isChosen = !isConvolutional || hasConvolutions;
    return { ...own, ...(isChosen ? {} : { rank: 0 }), ...named, rateWeight };
  };
}

/**
 * Checks a network's options without its layers.
 *
 * @param network Its name, for errors.
 * @throws {RangeError} Naming the option, what it is and what it must be.
 */
export function checkLoraOptions(network: string, options: LoraOptions): void {
  const { rank, alpha, convRank, convAlpha, modules = {}, dropout, rankDropout, moduleDropout } = options;
  const refuse = (name: string, value: number, wanted: string) => {
    throw new RangeError(`Cannot make ${network}: ${name} is ${value}, must be ${wanted}`);
  };
  const ranks = {
    rank,
    convRank,
    ...Object.fromEntries(Object.entries(modules).map(([name, each]) => [name, each.rank])),
  };
  for (const [name, value] of Object.entries(ranks)) {
    if (value !== undefined && !(Number.isInteger(value) && value > 0)) refuse(name, value, "a whole number above 0");
  }
  for (const [name, value] of Object.entries({ alpha, convAlpha })) {
    if (value !== undefined && !(value > 0 && Number.isFinite(value))) refuse(name, value, "above 0");
  }
  for (const [name, value] of Object.entries({ dropout, rankDropout, moduleDropout })) {
    if (value !== undefined && !(value >= 0 && value < 1)) refuse(name, value, "from 0 to below 1");
  }
  const { orthonormalPlace: place } = options;
  if (place !== undefined && !(Number.isSafeInteger(place) && place >= 0)) {
    refuse("orthonormalPlace", place, "a whole number from 0 on");
  }
  if (options.blocks) blockSettings(options.blocks, { rank, alpha: alpha ?? rank, convAlpha: convAlpha ?? 1 });
}
