import { type LoraModuleShapes, readLora, readLoraShapes } from "../../formats/lora_file.ts";
import { initialWeights } from "../../lora/initial_weights.ts";
import type { LoraModule, LoraNetwork } from "../../lora/network.ts";
import { checkRoom } from "../../lora/orthonormal_down.ts";
import { hashFile, InputError } from "../../pipeline/mod.ts";
import { readNamedLora } from "./named_lora.ts";
import type { Network, NetworkOptions, NetworkStartOptions } from "./network.ts";

/** A network to train: from its start, from weights in a file, or from a network of this run. */
export interface NetworkStart {
  readonly options: NetworkOptions;
  readonly network?: Network;
  /** A LoRA file. */
  readonly weights?: string;
}

/**
 * What a network starts from, with the ranks and alphas of its file; the file's weights are not read yet.
 *
 * @param number Which network it is.
 * @throws {InputError} If the file is not there.
 * @throws {TypeError} If the file is no LoRA file.
 */
export async function resolveStart(
  { weights, ranksFromWeights = false, ...options }: NetworkStartOptions,
  number: 1 | 2,
): Promise<NetworkStart> {
  if (weights === undefined) return { options };
  const flag = number === 1 ? "--network_weights" : "--network_weights_2";
  const shapes = await readNamedLora(weights, flag, readLoraShapes),
    modules = Object.fromEntries(
      [...shapes].map(([name, { down, alpha }]) => [
        name,
        // The scale in use is the file's alpha over the rank, whatever the options say.
        { alpha, ...(ranksFromWeights ? { rank: down[0] } : {}) },
      ]),
    );
  return {
    options: {
      ...options,
      modules: { ...modules, ...options.modules },
      ...(ranksFromWeights ? { namedModulesOnly: true } : {}),
    },
    weights,
  };
}

/**
 * Refuses what a network cannot start from, before anything is computed: a base whose layers have no room for its orthonormal place, or a file of other shapes.
 *
 * @throws {InputError} If there is no room, or a module's shapes are not the network's.
 */
export async function checkStart(lora: LoraNetwork, weights: string | undefined): Promise<void> {
  try {
    checkRoom(lora);
  } catch (cause) {
    throw new InputError((cause as Error).message, { cause });
  }
  if (weights === undefined) return;
  for (const [name, shapes] of await readLoraShapes(weights)) {
    const module = lora.module(name);
    if (module) checkFit(lora, module, shapes, weights);
  }
}

/** Hashes of the LoRA files that networks start from. */
export function hashStarts(...starts: readonly NetworkStartOptions[]): Promise<string[]> {
  return Promise.all(starts.flatMap(({ weights }) => weights === undefined ? [] : [hashFile(weights)]));
}

/**
 * A network's weights before training.
 *
 * @param options.warn Hears of modules in the file that the network does not have.
 * @throws {RangeError} If another network's weights are not as many.
 * @throws {InputError} If the file's shapes are not the network's.
 */
export async function startingWeights(
  lora: LoraNetwork,
  { network, weights }: NetworkStart,
  options: { readonly seed: number; readonly stream: number; readonly warn: (message: string) => void },
): Promise<Float32Array> {
  const values = network?.weights ?? initialWeights(lora, options);
  if (values.length !== lora.sizeElements) {
    throw new RangeError(
      `Cannot train ${lora.name}: its weights have ${values.length} numbers, the base model and rank want ${lora.sizeElements}`,
    );
  }
  if (weights === undefined) return values;
  const { modules } = await readLora(weights), found = new Map(modules.map((module) => [module.name, module]));
  const others = modules.filter(({ name }) => !lora.module(name));
  if (others.length) {
    options.warn(
      `${weights}: ${others.length} of ${modules.length} modules are not in ${lora.name} and stay unused, the first is ${
        others[0].name
      }`,
    );
  }
  const own = lora.unflatten(values);
  return lora.flatten((module) => {
    const loaded = found.get(module.name);
    if (!loaded) return own.get(module)!;
    checkFit(lora, module, { down: loaded.down.shape, up: loaded.up.shape }, weights);
    return { down: loaded.down.values, up: loaded.up.values };
  });
}

function checkFit(
  lora: LoraNetwork,
  module: LoraModule,
  found: Pick<LoraModuleShapes, "down" | "up">,
  path: string,
): void {
  for (const which of ["down", "up"] as const) {
    const { shape } = module[which], given = found[which];
    if (given.join() === shape.join()) continue;
    const rankAt = which === "down" ? 0 : 1;
    const isRank = given.length === shape.length && given.every((size, at) => at === rankAt || size === shape[at]);
    throw new InputError(
      `Cannot train ${lora.name} from ${path}: ${module[which].name} is [${given.join(", ")}], the network has [${
        shape.join(", ")
      }]; ${
        isRank
          ? "give the file's rank, or ranksFromWeights (--dim_from_weights)"
          : "the file was made for another kind of base model"
      }`,
    );
  }
}
