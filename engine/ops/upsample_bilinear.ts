import { defineOp } from "../graph/op.ts";
import { elementCount, typeText } from "../graph/types.ts";
import { buffers, Stored } from "./kernels/storage.ts";
import { divide, grid, modulo, vectorWidth } from "./kernels/wgsl.ts";

/** Size of the enlarged picture. */
export interface UpsampleBilinearAttributes {
  readonly height: number;
  readonly width: number;
}

/**
 * Enlarges the upper left part of a picture by interpolating between its cells; it has no gradient.
 *
 * `x` is `[batch, rows, columns, channels]`, `size` u32 `[2]`: height and width of the part, which may be another in every run; 0 gives zeros. Output
 * cell i reads at (i + ½) · size / length − ½, kept inside of the part: PyTorch's `interpolate` with mode bilinear and `align_corners` False.
 */
export const upsampleBilinear = defineOp<readonly ["x", "size"], UpsampleBilinearAttributes>({
  name: "upsample_bilinear",
  inputs: ["x", "size"],
  type: ({ x, size }, { height, width }) => {
    if (x.shape.length !== 4) throw new TypeError(`x is ${typeText(x)}, wanted [batch, rows, columns, channels]`);
    if (size.dtype !== "u32" || elementCount(size.shape) !== 2) {
      throw new TypeError(`size is ${typeText(size)}, wanted u32 [2]`);
    }
    return { shape: [x.shape[0], height, width, x.shape[3]], dtype: "f32" };
  },
  kernel: ({ inputs: { x, size }, output, target }) => {
    const [, rows, columns, channels] = x.shape, [, height, width] = output.shape;
    const elements = vectorWidth(channels), units = channels / elements, count = elementCount(output.shape) / elements;
    const lines = grid(count, target, 128), part = new Stored("size", size, 1, target);
    const small = new Stored("x", x, elements, target), result = new Stored("result", output, elements, target);
    const at = (row: string, column: string) =>
      small.load(`((picture * ${rows}u + ${row}) * ${columns}u + ${column}) * UNITS + unit`);
    return {
      workgroups: lines.workgroups,
      wgsl: `${buffers([small, part], [result])}
const COUNT = ${count}u;
const UNITS = ${units}u;
const LENGTHS = vec2f(${height}.0, ${width}.0);

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
  let part = min(vec2u(${part.load("0u")}, ${part.load("1u")}), vec2u(${rows}u, ${columns}u));
  if (part.x == 0u || part.y == 0u) {
    ${result.store("i", `${result.type}()`)}
    return;
  }
  let unit = ${modulo("i", units, count)};
  let cell = ${divide("i", units, count)};
  let picture = ${divide("cell", height * width, count)};
  let place = vec2u(${modulo(divide("cell", width, count), height, count)}, ${modulo("cell", width, count)});
  let source = max((vec2f(place) + 0.5) * (vec2f(part) / LENGTHS) - 0.5, vec2f());
  let first = min(vec2u(source), part - 1u);
  let second = min(first + 1u, part - 1u);
  let share = source - vec2f(first);
  let upper = mix(${at("first.x", "first.y")}, ${at("first.x", "second.y")}, share.y);
  let lower = mix(${at("second.x", "first.y")}, ${at("second.x", "second.y")}, share.y);
  ${result.store("i", "mix(upper, lower, share.x)")}
}
`,
    };
  },
  samples: [
    sample([2, 3, 4, 3], [3, 4], [7, 9]),
    sample([1, 7, 5, 8], [4, 2], [8, 33]),
    sample([3, 2, 2, 4], [1, 1], [3, 5]),
    sample([1, 3, 3, 4], [3, 3], [3, 3]),
    sample([1, 3, 3, 4], [0, 3], [5, 4]),
  ],
});

function sample(shape: [number, number, number, number], size: [number, number], [height, width]: [number, number]) {
  const [batch, rows, columns, channels] = shape;
  // What a cell of the result reads, and how much of it.
  const weights = (place: number, length: number, part: number): [number, number][] => {
    const source = Math.max((place + 0.5) * part / length - 0.5, 0), first = Math.min(Math.floor(source), part - 1);
    return [[first, 1 - (source - first)], [Math.min(first + 1, part - 1), source - first]];
  };
  return {
    inputs: { x: shape, size: { shape: [2], dtype: "u32" as const } },
    values: { size },
    attributes: { height, width },
    expect: (x: number[]) =>
      Array.from({ length: batch * height * width * channels }, (_, i) => {
        if (size.includes(0)) return 0;
        const channel = i % channels, column = Math.floor(i / channels) % width;
        const row = Math.floor(i / channels / width) % height, picture = Math.floor(i / channels / width / height);
        return weights(row, height, size[0]).flatMap(([r, share]) =>
          weights(column, width, size[1]).map(([c, other]) =>
            share * other * x[((picture * rows + r) * columns + c) * channels + channel]
          )
        ).reduce((a, b) => a + b);
      }),
  };
}
