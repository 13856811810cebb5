import { defineOp, type Gradients } from "../graph/op.ts";
import { elementCount, type TensorType } from "../graph/types.ts";
import type { KernelTarget } from "../graph/kernel.ts";
import { geluOf } from "./gelu.ts";
import { geluWgsl } from "./kernels/activations.ts";
import { buffers, Stored } from "./kernels/storage.ts";
import { divide, grid, modulo, vectorType, vectorWidth } from "./kernels/wgsl.ts";

/** Halves of `x` side by side in each row: one invocation handles up to four neighbours of both. */
function halves(x: TensorType, target: KernelTarget) {
  const size = x.shape[x.shape.length - 1] / 2, width = vectorWidth(size), units = size / width;
  const count = elementCount(x.shape) / 2 / width, lines = grid(count, target, 128);
  const stored = new Stored("x", x, width, target);
  return {
    width,
    stored,
    lines,
    head: `alias V = ${vectorType("f32", width)};
const COUNT = ${count}u;
const UNITS = ${units}u;
${geluWgsl}`,
    main: `${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
  let value_at = ${divide("i", units, count)} * (2u * UNITS) + ${modulo("i", units, count)};
  let value = ${stored.load("value_at")};
  let gate = ${stored.load("value_at + UNITS")};`,
  };
}

const gegluGradient = defineOp({
  name: "geglu_gradient",
  inputs: ["x", "dy"],
  type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
  kernel: ({ inputs: { x, dy }, output, target }) => {
    const { width, stored, lines, head, main } = halves(x, target);
    const gradient = new Stored("dy", dy, width, target), dx = new Stored("dx", output, width, target);
    return {
      workgroups: lines.workgroups,
      wgsl: `${buffers([stored, gradient], [dx])}
${head}
${main}
  let d = ${gradient.load("i")};
  ${dx.store("value_at", "d * gelu(gate)")}
  ${dx.store("value_at + UNITS", "d * value * geluSlope(gate)")}
}
`,
    };
  },
  samples: [],
});

/**
 * Gated GELU: the first half of the last axis times the GELU of the second.
 *
 * @returns `[..., c]` for `x` of `[..., 2c]`
 * @see Shazeer 2020, "GLU Variants Improve Transformer", https://arxiv.org/abs/2002.05202
 */
export const geglu = defineOp({
  name: "geglu",
  narrows: 1,
  inputs: ["x"],
  type: ({ x }) => {
    const last = x.shape[x.shape.length - 1];
    if (!last || last % 2) throw new TypeError(`x is [${x.shape.join(", ")}], wanted an even last axis`);
    return { shape: [...x.shape.slice(0, -1), last / 2], dtype: "f32" };
  },
  kernel: ({ inputs: { x }, output, target }) => {
    const { width, stored, lines, head, main } = halves(x, target);
    const result = new Stored("result", output, width, target);
    return {
      workgroups: lines.workgroups,
      wgsl: `${buffers([stored], [result])}
${head}
${main}
  ${result.store("i", "value * gelu(gate)")}
}
`,
    };
  },
  // y = v·gelu(g):  dv = gelu(g) dy,  dg = v·gelu'(g) dy
  gradient: (dy, { x }): Gradients => ({ x: gegluGradient(x, dy) }),
  samples: [
    { inputs: { x: [3, 14] }, range: [-3, 3], expect: (x) => gated(x, 7) },
    { inputs: { x: [2, 3, 64] }, range: [-3, 3], expect: (x) => gated(x, 32) },
  ],
});

function gated(x: number[], size: number): number[] {
  return Array.from({ length: x.length / 2 }, (_, i) => {
    const value = Math.floor(i / size) * 2 * size + i % size;
    return x[value] * geluOf(x[value + size]);
  });
}
