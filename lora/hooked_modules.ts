import type { Tensor } from "../engine/mod.ts";
import { blockCount, blockIndex } from "./blocks.ts";
import type { LoraNetwork } from "./network.ts";
import { type TextMask, textOrthogonality, unetOrthogonality } from "./orthogonality.ts";

/** A set of modules whose hidden layers a loss keeps apart. */
export interface HookOptions {
  /** kohya's names, or all modules that both networks have. */
  readonly modules: "all" | readonly string[];
  /**
   * 26 weights of the modules' terms by where they lie, as lora-block-weight orders them: `BASE` (the text encoder), `IN00` to `IN11`, `M00`, `OUT00` to `OUT11`; 1
   * each when left out. At 0 a module is left out.
   */
  readonly blockWeights?: readonly number[];
}

/** A module with the weight of its term. */
export interface HookedModule {
  /** kohya's name. */
  readonly name: string;
  /** Above 0. */
  readonly weight: number;
}

/** Numbers in `blockWeights`: the text encoder and the UNet's blocks. */
const hookWeightCount = blockCount + 1;

/**
 * Checks a set without its networks.
 *
 * @throws {RangeError} If it names no module, or the weights are not 26 numbers from 0 on with one above 0.
 */
export function checkHooks({ modules, blockWeights }: HookOptions): void {
  if (modules !== "all" && !(Array.isArray(modules) && modules.length > 0)) {
    throw new RangeError(
      `Cannot hook modules: modules is ${JSON.stringify(modules)}, must be "all" or a list of names`,
    );
  }
  if (blockWeights === undefined) return;
  if (
    blockWeights.length !== hookWeightCount || !blockWeights.every((weight) => Number.isFinite(weight) && weight >= 0)
  ) {
    throw new RangeError(
      `Cannot hook modules: blockWeights has ${blockWeights.length} numbers (${blockWeights.join(", ")}), must be ` +
        `${hookWeightCount} from 0 on: BASE, IN00 to IN11, M00, OUT00 to OUT11`,
    );
  }
}

/**
 * The modules of a set that both networks have, each with its weight.
 *
 * @throws {RangeError} As {@linkcode checkHooks}; if a network lacks a module that is named, or none is left with a weight above 0.
 */
export function selectHooks(one: LoraNetwork, two: LoraNetwork, options: HookOptions): HookedModule[] {
  checkHooks(options);
  const { modules, blockWeights } = options;
  const names = modules === "all" ? one.modules.map(({ name }) => name).filter((name) => two.module(name)) : modules;
  for (const name of names) {
    const lacking = [one, two].find((network) => !network.module(name));
    if (lacking) throw new RangeError(`Cannot hook ${name}: ${lacking.name} has no such module`);
  }
  const found = names
    .map((name): HookedModule => ({ name, weight: blockWeights?.[blockIndex(name) + 1] ?? 1 }))
    .filter(({ weight }) => weight > 0);
  if (found.length === 0) {
    throw new RangeError(`Cannot hook modules: none of ${names.length} has a block weight above 0`);
  }
  return found;
}

/**
 * The method's term at any module: over tokens, as in the text encoder, where the layer's output is `[batch, tokens, channels]`; over rows of each channel, as in the
 * UNet's middle block, where it is `[batch, height, width, channels]`.
 *
 * @param mask Of the terms over tokens.
 * @returns `[]`
 */
export function moduleOrthogonality(h1: Tensor, h2: Tensor, mask: TextMask): Tensor {
  return h1.shape.length === 4 ? unetOrthogonality(h1, h2) : textOrthogonality(h1, h2, mask);
}
