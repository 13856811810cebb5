import { defineOp, type Gradients } from "../graph/op.ts";
import { elementCount, type TensorType, typeText } from "../graph/types.ts";
import type { KernelTarget } from "../graph/kernel.ts";
import { buffers, Stored } from "./kernels/storage.ts";
import { divide, grid, modulo, vectorWidth } from "./kernels/wgsl.ts";

/** One invocation a unit of the small picture; `corners` are its four places in the large one, `[batch, 2h, 2w, c]`. */
function squares(small: TensorType, target: KernelTarget) {
  const [, , columns, channels] = small.shape, width = vectorWidth(channels), units = channels / width;
  const count = elementCount(small.shape) / width, lines = grid(count, target, 128);
  return {
    width,
    lines,
    corners: ["corner", "corner + UNITS", "corner + ROW", "corner + ROW + UNITS"],
    main: `const COUNT = ${count}u;
const UNITS = ${units}u;
const ROW = ${2 * columns * units}u;

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
  let row = ${divide("i", columns * units, count)};
  let column = ${modulo(divide("i", units, count), columns, count)};
  let corner = row * (2u * ROW) + column * (2u * UNITS) + ${modulo("i", units, count)};`,
  };
}

const upsampleNearestGradient = defineOp({
  name: "upsample_nearest_gradient",
  inputs: ["dy"],
  type: ({ dy }) => {
    const [batch, height, width, channels] = dy.shape;
    return { shape: [batch, height / 2, width / 2, channels], dtype: "f32" };
  },
  kernel: ({ inputs: { dy }, output, target }) => {
    const { width, lines, corners, main } = squares(output, target);
    const large = new Stored("dy", dy, width, target), result = new Stored("result", output, width, target);
    return {
      workgroups: lines.workgroups,
      wgsl: `${buffers([large], [result])}
${main}
  ${result.store("i", corners.map((place) => large.load(place)).join(" + "))}
}
`,
    };
  },
  samples: [],
});

/**
 * Every pixel four times: `[batch, height, width, channels]` to `[batch, 2 · height, 2 · width, channels]`.
 */
export const upsampleNearest = defineOp({
  name: "upsample_nearest",
  narrows: 1,
  inputs: ["x"],
  type: ({ x }) => {
    if (x.shape.length !== 4) throw new TypeError(`x is ${typeText(x)}, wanted [batch, height, width, channels]`);
    const [batch, height, width, channels] = x.shape;
    return { shape: [batch, 2 * height, 2 * width, channels], dtype: "f32" };
  },
  kernel: ({ inputs: { x }, output, target }) => {
    const { width, lines, corners, main } = squares(x, target);
    const small = new Stored("x", x, width, target), result = new Stored("result", output, width, target);
    return {
      workgroups: lines.workgroups,
      wgsl: `${buffers([small], [result])}
${main}
  let value = ${small.load("i")};
${corners.map((place) => `  ${result.store(place, "value")}`).join("\n")}
}
`,
    };
  },
  // dx = Σ of dy over the pixel's four copies
  gradient: (dy): Gradients => ({ x: upsampleNearestGradient(dy) }),
  samples: [
    { inputs: { x: [2, 3, 7, 3] }, expect: (x) => doubled(x, 3, 7, 3) },
    { inputs: { x: [1, 4, 2, 8] }, expect: (x) => doubled(x, 4, 2, 8) },
    { inputs: { x: [1, 1, 1, 1] }, expect: (x) => doubled(x, 1, 1, 1) },
  ],
});

function doubled(x: number[], height: number, width: number, channels: number): number[] {
  return Array.from({ length: 4 * x.length }, (_, i) => {
    const c = i % channels, column = Math.floor(i / channels) % (2 * width);
    const row = Math.floor(i / (channels * 2 * width)) % (2 * height);
    const picture = Math.floor(i / (channels * 4 * width * height));
    return x[((picture * height + (row >> 1)) * width + (column >> 1)) * channels + c];
  });
}
