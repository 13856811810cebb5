import { elementCount, type Program } from "../engine/mod.ts";

/** Nominal operations of a program's products, convolutions and attentions: two for each multiply-add of the direct algorithm. */
export function countOperations(program: Program): number {
  return program.steps.reduce((sum, step) => sum + stepOperations(step), 0);
}

/** Nominal operations of one step; 0 for what is no product, convolution or attention. */
export function stepOperations(step: Program["steps"][number]): number {
  if (step.kind !== "node") return 0;
  const { op, inputs, attributes, outputs: [output] } = step.node;
  const size = elementCount(output.shape), [first, second] = inputs;
  switch (op.name) {
    case "matmul":
      return 2 * size * first!.shape.at((attributes as { transposeA?: boolean }).transposeA ? -2 : -1)!;
    case "matmul_pair": {
      const sumAxis = (attributes as { transposeA?: boolean }).transposeA ? 0 : 1, other = inputs[4];
      return 2 * size * (first!.shape[sumAxis] + other!.shape[sumAxis]);
    }
    case "conv2d":
      return 2 * size * elementCount(second!.shape.slice(0, 3));
    case "conv2d_input_gradient":
      // Each element of dy meets the weights of its output channel.
      return 2 * elementCount(first!.shape) * elementCount(second!.shape.slice(0, 3));
    // Two products: q·kᵀ and p·v; do·vᵀ and ds·k; dsᵀ·q and pᵀ·do. What the gradients compute again is not counted.
    case "attention":
    case "attention_query_gradient":
    case "attention_key_value_gradient":
      return 4 * elementCount(first!.shape) * second!.shape[1];
    default:
      return 0;
  }
}
