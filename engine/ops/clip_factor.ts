import { defineOp } from "../graph/op.ts";
import { binding, float } from "./kernels/wgsl.ts";

/**
 * What gradient clipping multiplies by: `[norm, min(1, limit / (norm + 1e-6))]` from the sum of squares. Limit 0 turns clipping off.
 *
 * @see PyTorch's `torch.nn.utils.clip_grad_norm_`, whose 1e-6 it keeps.
 */
export const clipFactor = defineOp<readonly ["sumOfSquares"], { readonly limit: number }>({
  name: "clip_factor",
  inputs: ["sumOfSquares"],
  type: () => ({ shape: [2], dtype: "f32" }),
  kernel: ({ attributes: { limit } }) => ({
    workgroups: [1, 1, 1],
    wgsl: `${binding(0, "sum_of_squares", "f32", "read")}
${binding(1, "result", "f32", "read_write")}

@compute @workgroup_size(1)
fn main() {
  let norm = sqrt(sum_of_squares[0]);
  result[0] = norm;
  result[1] = ${limit > 0 ? `min(1.0, ${float(limit)} / (norm + 1e-6))` : "1.0"};
}
`,
  }),
  samples: [
    {
      inputs: { sumOfSquares: [] },
      range: [4, 9],
      attributes: { limit: 1 },
      expect: ([x]) => [Math.sqrt(x), 1 / (Math.sqrt(x) + 1e-6)],
    },
    {
      inputs: { sumOfSquares: [1] },
      range: [0.1, 0.2],
      attributes: { limit: 1 },
      expect: ([x]) => [Math.sqrt(x), 1],
    },
    { inputs: { sumOfSquares: [1] }, range: [4, 9], attributes: { limit: 0 }, expect: ([x]) => [Math.sqrt(x), 1] },
  ],
});
