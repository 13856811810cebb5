import { gradients, type HostArray, mean, multiply, type Tensor } from "../../engine/mod.ts";
import { toCheckpointLayout, type Weights, type WeightSpec } from "../../models/weights.ts";
import type { TensorSet } from "./tensors.ts";

/** Of a small model everything is computed that a golden may have; of a large one, what is long in coming only where the input names it. */
export function isSmall(weights: Weights): boolean {
  return weights.parameterCount <= 2 ** 25;
}

/** A loss with the gradients that are wanted of it. */
export interface LossGraph {
  /** `loss`, and `grad.<name>`, to compile. */
  readonly outputs: Readonly<Record<string, Tensor>>;
  /** Adds the results, weights' gradients in the checkpoint's layout. */
  collect(found: Readonly<Record<string, HostArray>>, prefix: string, output: TensorSet): void;
}

/** The weights whose gradients are wanted: all of a small model, of a large one those that the input names `grad.<weight>`. */
export function wantedWeights(weights: Weights, input: TensorSet): WeightSpec[] {
  return weights.all.filter(({ key }) => isSmall(weights) || input.has(`grad.${key}`));
}

/**
 * The goldens' loss, `mean(x · cotangent)`, with its gradient in weights and in other tensors. What the loss does not depend on has no gradient.
 */
export function lossGraph(
  x: Tensor,
  cotangent: Tensor,
  specs: readonly WeightSpec[],
  others: Readonly<Record<string, Tensor>> = {},
): LossGraph {
  const loss = mean(multiply(x, cotangent));
  const targets = { ...others, ...Object.fromEntries(specs.map(({ key, variable }) => [key, variable.tensor])) };
  const found = gradients(loss, Object.values(targets));
  const outputs: Record<string, Tensor> = { loss };
  Object.keys(targets).forEach((name, i) => {
    if (found[i]) outputs[`grad.${name}`] = found[i];
  });
  const layouts = new Map(specs.map((spec) => [`grad.${spec.key}`, spec]));
  return {
    outputs,
    collect(read, prefix, output) {
      for (const [name, tensor] of Object.entries(outputs)) {
        const data = read[name] as Float32Array, spec = layouts.get(name);
        output.set(
          prefix + name,
          spec
            ? { shape: spec.shape, data: toCheckpointLayout(data, spec.shape, spec.layout) }
            : { shape: name === "loss" ? [1] : tensor.shape, data },
        );
      }
    },
  };
}
