import { deepEqual, ok } from "node:assert/strict";
import {
  Device,
  dispatchesOf,
  gradients,
  groupNorm,
  input,
  type KernelTarget,
  plan,
  type Tensor,
} from "../../engine/mod.ts";
import { difference, numbers } from "./op_check.ts";
import { cpuTarget } from "./targets.ts";

const gpu = await Device.open({ target: { cpu: false, subgroupSize: 0 } });
addEventListener("unload", () => gpu.dispose());

const groups = 2, epsilon = 1e-5;

/** Values by name: x and c `[pictures, positions, channels]`, weight and bias `[channels]`. */
type Values = Readonly<Record<"x" | "c" | "weight" | "bias", number[]>>;

/**
 * y = n·weight + bias, through SiLU if wanted, and the gradient of Σ c·y by x, by the definition in f64. By the chain rule, with g the gradient by n:
 * dx = inverse · (g − mean(g) − n · mean(g·n)).
 */
function byDefinition(
  { x, c, weight, bias }: Values,
  [pictures, positions, channels]: readonly number[],
  silu: boolean,
) {
  const y = new Float64Array(x.length), dx = new Float64Array(x.length), size = channels / groups;
  for (let group = 0; group < pictures * groups; group++) {
    const places: number[] = [];
    for (let i = 0; i < positions * size; i++) {
      const position = Math.floor(group / groups) * positions + Math.floor(i / size);
      places.push(position * channels + group % groups * size + i % size);
    }
    const mean = (values: number[]) => values.reduce((a, b) => a + b) / values.length;
    const middle = mean(places.map((at) => x[at]));
    const inverse = 1 / Math.sqrt(mean(places.map((at) => (x[at] - middle) ** 2)) + epsilon);
    const n = places.map((at) => (x[at] - middle) * inverse);
    const g = places.map((at, i) => {
      const z = n[i] * weight[at % channels] + bias[at % channels], sigma = 1 / (1 + Math.exp(-z));
      y[at] = silu ? z * sigma : z;
      return c[at] * (silu ? sigma * (1 + z * (1 - sigma)) : 1) * weight[at % channels];
    });
    const meanG = mean(g), meanProduct = mean(g.map((value, i) => value * n[i]));
    places.forEach((at, i) => dx[at] = inverse * (g[i] - meanG - n[i] * meanProduct));
  }
  return { y, dx };
}

// Steps: statistics, the norm, the gradient's means, the gradient. Those of a dispatch on a GPU; a CPU adapter runs one after another.
const cases = [
  // Five units of two channels: of 256 invocations 255 work, and the third turn has values for some of them.
  { name: "both at once", wants: ["y", "dx"], shape: [2, 120, 20], dtype: "f16", silu: true, steps: [[0, 1], [2, 3]] },
  // 88 numbers an invocation: the gradient has no room for x beside them. Nobody wants the norm itself.
  { name: "its gradient at once", wants: ["dx"], shape: [1, 5379, 8], dtype: "f32", silu: false, steps: [[0], [1, 2]] },
  // 45,056 values a group are too many.
  {
    name: "both in two dispatches",
    wants: ["y", "dx"],
    shape: [1, 11264, 8],
    dtype: "f32",
    silu: true,
    steps: [[0], [1], [2], [3]],
  },
] as const;

for (const { name, wants, shape, dtype, silu, steps } of cases) {
  Deno.test(`a GPU computes group norm of [${shape}], ${name}, and agrees with the definition`, async () => {
    const channels = shape[2], count = shape[0] * shape[1] * channels;
    const values = {
      // Far from zero, so that a variance that is not centred would be off.
      x: [...new Float16Array(numbers(count, 1, [4, 8]))],
      c: numbers(count, 2),
      weight: numbers(channels, 3, [0.5, 1.5]),
      bias: numbers(channels, 4),
    };
    const x = input("x", shape, dtype), weight = input("weight", [channels]), bias = input("bias", [channels]);
    const y = groupNorm(x, weight, bias, { groups, epsilon, silu });
    const [dx] = gradients(y, [x], { seed: input("c", shape) }) as Tensor[];
    const outputs = { y, dx }, program = plan({ outputs: Object.fromEntries(wants.map((key) => [key, outputs[key]])) });
    const stepsOn = (target: KernelTarget) =>
      dispatchesOf(program, target).map((each) => "steps" in each ? [...each.steps] : []);
    deepEqual(stepsOn(cpuTarget), steps.flat().map((step) => [step]));
    deepEqual(stepsOn(gpu.facts.target), steps);
    const compiled = await gpu.compile(program), feeds = new Map<string, number[]>(Object.entries(values));
    compiled.run(Object.fromEntries([...program.inputs.keys()].map((key) => [key, feeds.get(key)!])));
    const found = await compiled.read(...wants), expected = byDefinition(values, shape, silu);
    gpu.release(compiled);
    for (const key of wants) {
      const off = difference(found[key], expected[key]);
      ok(off <= 1e-5, `${key} is off by ${off}`);
    }
  });
}
