import { defineOp } from "../graph/op.ts";
import { philoxWords, type RandomAttributes, randomKernel, randomType } from "./kernels/philox.ts";

/**
 * Random numbers evenly spread over [0, 1): multiples of 2^-24, from the upper 24 bits of Philox's words.
 *
 * `key` is u32 `[4]`: seed low, seed high, stream, step. The same key always gives the same numbers.
 */
export const randomUniform = defineOp<readonly ["key"], RandomAttributes>({
  name: "random_uniform",
  inputs: ["key"],
  type: ({ key }, attributes) => randomType(key, attributes),
  kernel: ({ attributes: { shape }, target }) => randomKernel("vec4f(words >> vec4u(8u)) * 0x1p-24f", shape, target),
  samples: [sample([33]), sample([7, 16])],
});

function sample(shape: number[]) {
  const count = shape.reduce((a, b) => a * b);
  return {
    inputs: { key: { shape: [4], dtype: "u32" as const } },
    attributes: { shape },
    integersBelow: 2 ** 24,
    tolerance: 1e-9,
    expect: (key: number[]) => philoxWords(key, count).slice(0, count).map((word) => (word >>> 8) / 2 ** 24),
  };
}
