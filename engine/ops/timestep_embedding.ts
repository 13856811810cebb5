import { defineOp } from "../graph/op.ts";
import { elementCount, typeText } from "../graph/types.ts";
import { cosineAndSineWgsl } from "./kernels/angles.ts";
import { binding, divide, float, grid, modulo } from "./kernels/wgsl.ts";

/** Which waves a timestep is shown as. diffusers' names: `flip_sin_to_cos`, `downscale_freq_shift`. */
export interface TimestepEmbeddingAttributes {
  /** Length of the result; even. */
  readonly size: number;
  /** Cosines first. */
  readonly flipSinToCos: boolean;
  /** Taken off the number of frequencies in the exponent's divisor. */
  readonly frequencyShift: number;
}

/** Frequencies `10000^(−i / (size / 2 − shift))`, in radians for each timestep. */
function frequencies({ size, frequencyShift }: TimestepEmbeddingAttributes): number[] {
  return Array.from({ length: size / 2 }, (_, i) => Math.exp(-Math.log(10000) * i / (size / 2 - frequencyShift)));
}

/** A number's first 12 bits: times a whole number below 4096 it is exact in f32. */
function coarse(value: number): number {
  const unit = 2 ** (Math.floor(Math.log2(value)) - 11);
  return Math.floor(value / unit) * unit;
}

/**
 * Sines and cosines of a timestep at falling frequencies, as diffusers' `get_timestep_embedding`; it has no gradient.
 *
 * Angles are reduced to one turn exactly before sine and cosine: f32 has no digits left for parts of a turn behind a thousand of them.
 *
 * @returns `[batch, size]` for timesteps of `[batch]`
 * @see Vaswani et al. 2017, section 3.5, https://arxiv.org/abs/1706.03762
 */
export const timestepEmbedding = defineOp<readonly ["timesteps"], TimestepEmbeddingAttributes>({
  name: "timestep_embedding",
  inputs: ["timesteps"],
  type: ({ timesteps }, { size }) => {
    if (timesteps.shape.length !== 1) throw new TypeError(`timesteps are ${typeText(timesteps)}, wanted [batch]`);
    if (size % 2 !== 0) throw new TypeError(`size is ${size}, wanted an even number`);
    return { shape: [timesteps.shape[0], size], dtype: "f32" };
  },
  kernel: ({ inputs: { timesteps }, output, attributes, target }) => {
    const half = attributes.size / 2, count = elementCount(output.shape), lines = grid(count, target);
    const turns = frequencies(attributes).map((radians) => radians / (2 * Math.PI)), high = turns.map(coarse);
    const list = (values: number[]) => `array<f32, ${half}>(${values.map(float).join(", ")})`;
    return {
      workgroups: lines.workgroups,
      wgsl: `${binding(0, "timesteps", timesteps.dtype, "read")}
${binding(1, "result", "f32", "read_write")}
const COUNT = ${count}u;
const SIZE = ${attributes.size}u;
const HALF = ${half}u;
const COARSE = ${list(high)};
const FINE = ${list(turns.map((value, i) => value - high[i]))};
${cosineAndSineWgsl}
${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
  let place = ${modulo("i", attributes.size)};
  let wave = ${modulo("place", half)};
  let timestep = f32(timesteps[${divide("i", attributes.size)}]);
  let turns = fract(timestep * COARSE[wave]) + timestep * FINE[wave];
  let both = cosineAndSine(turns);
  result[i] = select(both.y, both.x, (place < HALF) == ${attributes.flipSinToCos});
}
`,
    };
  },
  samples: [
    sample(3, { size: 14, flipSinToCos: true, frequencyShift: 0 }),
    sample(7, { size: 32, flipSinToCos: false, frequencyShift: 1 }),
  ],
});

function sample(batch: number, attributes: TimestepEmbeddingAttributes) {
  return {
    inputs: { timesteps: { shape: [batch], dtype: "u32" as const } },
    attributes,
    integersBelow: 1000,
    tolerance: 1e-6,
    expect: (timesteps: number[]) =>
      timesteps.flatMap((timestep) => {
        const angles = frequencies(attributes).map((frequency) => timestep * frequency);
        const sines = angles.map(Math.sin), cosines = angles.map(Math.cos);
        return attributes.flipSinToCos ? [...cosines, ...sines] : [...sines, ...cosines];
      }),
  };
}
