import type { LoraFileModule } from "../formats/lora_file.ts";
import type { LayerInfo } from "../models/source.ts";
import { moduleName, type Part } from "./module_plan.ts";

/**
 * What a LoRA module adds to its layer's weight, `multiplier · alpha / rank · up · down`, in PyTorch's layout: `[out, in]` or `[out, in, height, width]`.
 *
 * @param multiplier Strength of the network.
 */
export function loraDelta(
  { down, up, alpha }: Omit<LoraFileModule, "name">,
  multiplier: number,
): Float32Array<ArrayBuffer> {
  const rank = down.shape[0], outSize = up.shape[0], inSize = down.values.length / rank;
  const factor = multiplier * alpha / rank, delta = new Float32Array(outSize * inSize), row = new Float64Array(inSize);
  for (let o = 0; o < outSize; o++) {
    row.fill(0);
    for (let r = 0; r < rank; r++) {
      const weight = factor * up.values[o * rank + r], from = r * inSize;
      for (let i = 0; i < inSize; i++) row[i] += weight * down.values[from + i];
    }
    delta.set(row, o * inSize);
  }
  return delta;
}

/** A LoRA file to be merged into a base model. */
export interface LoraToMerge {
  /** For messages. */
  readonly name: string;
  readonly modules: readonly LoraFileModule[];
  readonly multiplier: number;
}

/** Adds to a layer's weight, in PyTorch's layout; null where nothing changes it. */
export type WeightChange = (part: Part, key: string) => ((values: Float32Array) => Float32Array) | null;

/**
 * The change of a base model's weights that merges LoRA files into them, one after another.
 *
 * @throws {RangeError} If a module has no layer in the base model, or its shapes are not the layer's.
 * @see sd-scripts' `merge_to`, `--base_weights`
 */
export function mergeInto(
  layers: Readonly<Record<Part, readonly LayerInfo[]>>,
  loras: readonly LoraToMerge[],
): WeightChange {
  const changes = new Map<string, { module: LoraFileModule; multiplier: number }[]>();
  for (const { name, modules, multiplier } of loras) {
    const left = new Map(modules.map((module) => [module.name, module]));
    for (const part of ["text_encoder", "unet"] as const) {
      for (const layer of layers[part]) {
        const module = left.get(moduleName(part, layer));
        if (!module) continue;
        left.delete(module.name);
        checkFit(name, module, layer);
        const key = `${part}.${layer.path}.weight`;
        changes.set(key, [...changes.get(key) ?? [], { module, multiplier }]);
      }
    }
    const [stranger] = left.keys();
    if (stranger !== undefined) {
      throw new RangeError(
        `Cannot merge ${name}: the base model has no layer for ${stranger}; was it made for another kind of base model?`,
      );
    }
  }
  return (part, key) => {
    const found = changes.get(`${part}.${key}`);
    if (!found) return null;
    return (values) => {
      const sum = Float32Array.from(values);
      for (const { module, multiplier } of found) {
        const delta = loraDelta(module, multiplier);
        for (let i = 0; i < sum.length; i++) sum[i] += delta[i];
      }
      return sum;
    };
  };
}

function checkFit(
  name: string,
  { name: module, down, up }: LoraFileModule,
  { inSize, outSize, kernel }: LayerInfo,
): void {
  const area = Math.max(1, kernel) ** 2, found = down.values.length / down.shape[0];
  if (up.shape[0] === outSize && found === inSize * area) return;
  throw new RangeError(
    `Cannot merge ${name}: ${module} is for a layer of ${found} inputs and ${
      up.shape[0]
    } outputs, the base model's has ${inSize * area} and ${outSize}`,
  );
}
