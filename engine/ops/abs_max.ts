import { defineOp } from "../graph/op.ts";
import { reshape, type Tensor } from "../graph/tensor.ts";
import { elementCount } from "../graph/types.ts";
import { buffers, Stored } from "./kernels/storage.ts";
import { grid } from "./kernels/wgsl.ts";

/** Invocations that look for a maximum at the same time. */
const sharedBy = 1024;

const partialAbsMax = defineOp<readonly ["x"], { readonly parts: number }>({
  name: "abs_max",
  inputs: ["x"],
  type: (_, { parts }) => ({ shape: [parts], dtype: "f32" }),
  kernel: ({ inputs: { x }, output, attributes: { parts }, target }) => {
    const lines = grid(parts, target);
    const values = new Stored("x", x, 1, target), result = new Stored("result", output, 1, target);
    return {
      workgroups: lines.workgroups,
      wgsl: `${buffers([values], [result])}
const COUNT = ${elementCount(x.shape)}u;
const PARTS = ${parts}u;

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= PARTS) { return; }
  // As whole numbers the bits of magnitudes have the magnitudes' order, with infinity and then NaN on top.
  var most = 0u;
  for (var at = i; at < COUNT; at += PARTS) {
    most = max(most, bitcast<u32>(${values.load("at")}) & 0x7fffffffu);
  }
  ${result.store("i", "bitcast<f32>(most)")}
}
`,
    };
  },
  samples: [],
});

/** Largest magnitude of a tensor's elements, `[]`: infinity if one is infinite, NaN if one is NaN. It has no gradient. */
export const absMax = Object.assign(
  (x: Tensor): Tensor => {
    const count = elementCount(x.shape);
    const parts = count > sharedBy ? partialAbsMax(x, { parts: sharedBy }) : x;
    return reshape(partialAbsMax(parts, { parts: 1 }), []);
  },
  {
    /** As the op test sees it. */
    definition: {
      ...partialAbsMax.definition,
      samples: [
        { inputs: { x: [1] }, expect: largest },
        { inputs: { x: [7, 33] }, expect: largest },
        { inputs: { x: [3, 1033] }, range: [-9, 3] as const, expect: largest },
        { inputs: { x: { shape: [77], dtype: "f16" as const } }, expect: largest },
      ],
    },
  },
);

function largest(x: number[]): number[] {
  return [Math.max(...x.map(Math.abs))];
}
