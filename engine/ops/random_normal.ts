import { defineOp } from "../graph/op.ts";
import { cosineAndSineWgsl } from "./kernels/angles.ts";
import { philoxWords, type RandomAttributes, randomKernel, randomType } from "./kernels/philox.ts";

/**
 * Random numbers of the standard normal distribution, two from each pair of Philox's words by Box and Muller's method.
 *
 * `key` is u32 `[4]`: seed low, seed high, stream, step. The same key always gives the same numbers on one adapter; others differ in
 * the last bits, for logarithm and sine do.
 *
 * @see Box and Muller 1958, https://doi.org/10.1214/aoms/1177706645
 */
export const randomNormal = defineOp<readonly ["key"], RandomAttributes>({
  name: "random_normal",
  inputs: ["key"],
  type: ({ key }, attributes) => randomType(key, attributes),
  kernel: ({ attributes: { shape }, target }) => randomKernel(fourNormals, shape, target, twoNormals),
  samples: [sample([33]), sample([7, 16])],
});

// Radius from the first word of a pair, in (0, 1] so that its logarithm is finite; angle from the second, in parts of a turn.
const fourNormals = "vec4f(twoNormals(words.xy), twoNormals(words.zw))";
const twoNormals = `${cosineAndSineWgsl}
fn twoNormals(words: vec2u) -> vec2f {
  // A logarithm may be off by 2⁻²¹: just below 1 it may come out above 0.
  return sqrt(max(-2.0 * log((f32(words.x) + 1.0) * 0x1p-32f), 0.0)) * cosineAndSine(f32(words.y >> 8u) * 0x1p-24f);
}
`;

function sample(shape: number[]) {
  const count = shape.reduce((a, b) => a * b);
  return {
    inputs: { key: { shape: [4], dtype: "u32" as const } },
    attributes: { shape },
    integersBelow: 2 ** 24,
    expect: (key: number[]) => {
      const words = philoxWords(key, count);
      return words.map((_, i) => {
        const radius = Math.sqrt(-2 * Math.log((words[i - i % 2] + 1) / 2 ** 32));
        const angle = 2 * Math.PI * (words[i - i % 2 + 1] >>> 8) / 2 ** 24;
        return radius * (i % 2 ? Math.sin(angle) : Math.cos(angle));
      }).slice(0, count);
    },
  };
}
