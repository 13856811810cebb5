import type { LoraFileModule } from "../formats/lora_file.ts";
import type { LoraToMerge } from "./merge.ts";

/**
 * Merges LoRA files into one whose modules have the ranks of all together: its change of weights is exactly `Σ multiplier · change`, up to rounding. The scale goes
 * into `up`, so that alpha is the rank.
 *
 * @throws {RangeError} If files have modules of one name for different layers.
 */
export function concatenateLoras(loras: readonly LoraToMerge[]): LoraFileModule[] {
  return combine(loras, (name, found) => {
    const rank = found.reduce((sum, { module }) => sum + module.down.shape[0], 0);
    const [{ down, up }] = found.map(({ module }) => module), outSize = up.shape[0];
    const merged = new Float32Array(outSize * rank);
    let at = 0;
    for (const { module, multiplier } of found) {
      const own = module.down.shape[0], factor = multiplier * module.alpha / own;
      for (let o = 0; o < outSize; o++) {
        for (let r = 0; r < own; r++) merged[o * rank + at + r] = factor * module.up.values[o * own + r];
      }
      at += own;
    }
    const all = new Float32Array(down.values.length / down.shape[0] * rank);
    let start = 0;
    for (const { module } of found) {
      all.set(module.down.values, start);
      start += module.down.values.length;
    }
    return {
      name,
      alpha: rank,
      down: { shape: [rank, ...down.shape.slice(1)], values: all },
      up: { shape: [outSize, rank, ...up.shape.slice(2)], values: merged },
    };
  });
}

/**
 * Merges LoRA files by adding their factors, `down` to `down` and `up` to `up`, each times `multiplier · √(alpha / alpha of the first)`; the rank stays. That is no sum of
 * changes: a file alone at multiplier 0.5 has a quarter of its change, and factors of different files meet. It fits networks that came from one another.
 *
 * @throws {RangeError} If modules of one name have different shapes, ranks included.
 * @see `merge_lora_models` of sd-scripts' networks/merge_lora.py, whose figures these are
 */
export function addLoraFactors(loras: readonly LoraToMerge[]): LoraFileModule[] {
  return combine(loras, (name, found) => {
    const [{ lora, module: first }] = found;
    const down = new Float32Array(first.down.values.length), up = new Float32Array(first.up.values.length);
    for (const { lora: other, module, multiplier } of found) {
      if (module.down.shape[0] !== first.down.shape[0]) {
        throw new RangeError(
          `Cannot merge ${other}: ${name} has rank ${module.down.shape[0]} in it and ${
            first.down.shape[0]
          } in ${lora}; ` +
            "concatenate them (--concat), or resize one of them first",
        );
      }
      const scale = Math.sqrt(module.alpha / first.alpha) * multiplier;
      // One of them keeps the sign.
      module.down.values.forEach((value, i) => down[i] += scale * value);
      module.up.values.forEach((value, i) => up[i] += Math.abs(scale) * value);
    }
    return {
      name,
      alpha: first.alpha,
      down: { shape: first.down.shape, values: down },
      up: { shape: first.up.shape, values: up },
    };
  });
}

interface Found {
  readonly lora: string;
  readonly module: LoraFileModule;
  readonly multiplier: number;
}

/** Modules by name, in the order in which they first come; a module that only some files have is made of those. */
function combine(
  loras: readonly LoraToMerge[],
  merge: (name: string, found: readonly Found[]) => LoraFileModule,
): LoraFileModule[] {
  const all = loras.flatMap(({ name: lora, modules, multiplier }) =>
    modules.map((module): Found => ({ lora, module, multiplier }))
  );
  return [...Map.groupBy(all, ({ module }) => module.name)].map(([name, found]) => {
    const [{ lora, module: first }] = found;
    for (const { lora: other, module } of found) {
      const layer = ({ down, up }: LoraFileModule) => `[${[up.shape[0], ...down.shape.slice(1)].join(", ")}]`;
      if (layer(module) === layer(first)) continue;
      throw new RangeError(
        `Cannot merge ${other}: ${name} is for a layer of shape ${layer(module)} in it and ${layer(first)} in ${lora}`,
      );
    }
    return merge(name, found);
  });
}
