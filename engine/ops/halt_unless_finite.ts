import { defineOp } from "../graph/op.ts";
import { elementCount } from "../graph/types.ts";
import { binding } from "./kernels/wgsl.ts";

/**
 * Overwrites a flag, u32 `[1]`, that is 0 at first: 1 as soon as one of the figures is NaN or infinite, and from then on until the host writes 0 again.
 *
 * Ops that take the flag leave their variables alone while it is 1.
 */
export const haltUnlessFinite = defineOp({
  name: "halt_unless_finite",
  inputs: ["halted", "figures"],
  overwrites: 1,
  type: ({ halted }) => halted,
  kernel: ({ inputs: { figures } }) => ({
    workgroups: [1, 1, 1],
    wgsl: `${binding(0, "halted", "u32", "read_write")}
${binding(1, "figures", "f32", "read")}
const COUNT = ${elementCount(figures.shape)}u;

@compute @workgroup_size(1)
fn main() {
  for (var i = 0u; i < COUNT; i++) {
    // A compiler may assume that comparisons see no NaN, so the bits are asked.
    if ((bitcast<u32>(figures[i]) & 0x7f800000u) == 0x7f800000u) { halted[0] = 1u; }
  }
}
`,
  }),
  samples: [
    { inputs: { halted: { shape: [1], dtype: "u32" }, figures: [7] }, integersBelow: 9, expect: (halted) => halted },
  ],
});
