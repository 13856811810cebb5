import { deepEqual, ok } from "node:assert/strict";
import { dispatchesOf, gradients, groupNorm, input, plan, type Tensor } from "../../engine/mod.ts";
import { difference, numbers, openAs } from "./op_check.ts";
import { cpuTarget } from "./targets.ts";

const gpu = await openAs({ cpu: false, subgroupSize: 0 });
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

const cases = [
  // Five units of two channels: of 256 invocations 255 work, and the third turn has values for some of them.
  { shape: [2, 120, 20], dtype: "f16", silu: true, dispatches: 2, what: "a group in registers" },
  // 88 numbers an invocation: the gradient has no room for x beside them.
  { shape: [1, 5379, 8], dtype: "f32", silu: false, dispatches: 2, what: "a group that fills the registers" },
  // 45,056 values.
  { shape: [1, 11264, 8], dtype: "f32", silu: true, dispatches: 4, what: "a group beyond the registers" },
] as const;

for (const { shape, dtype, silu, dispatches, what } of cases) {
  Deno.test(`group norm and its gradient take ${dispatches} dispatches on a GPU and agree with the definition: ${what}`, async () => {
    const channels = shape[2], count = shape[0] * shape[1] * channels;
    // Far from zero, so that a variance that is not centred would be off.
    const x = [...new Float16Array(numbers(count, 1, [4, 8]))];
    const values = {
      x,
      c: numbers(count, 2),
      weight: numbers(channels, 3, [0.5, 1.5]),
      bias: numbers(channels, 4),
    };
    const tensors = {
      x: input("x", shape, dtype),
      c: input("c", shape),
      weight: input("weight", [channels]),
      bias: input("bias", [channels]),
    };
    const y = groupNorm(tensors.x, tensors.weight, tensors.bias, { groups, epsilon, silu });
    const [dx] = gradients(y, [tensors.x], { seed: tensors.c }) as Tensor[];
    const program = plan({ outputs: { y, dx } }), compiled = await gpu.compile(program);
    const stepsOn = (target: typeof cpuTarget) =>
      dispatchesOf(program, target).map((each) => "steps" in each ? [...each.steps] : []);
    deepEqual(stepsOn(cpuTarget), [[0], [1], [2], [3]]);
    deepEqual(stepsOn(gpu.facts.target), dispatches === 4 ? [[0], [1], [2], [3]] : [[0, 1], [2, 3]]);
    compiled.run(values);
    const found = await compiled.read("y", "dx"), expected = byDefinition(values, shape, silu);
    gpu.release(compiled);
    for (const name of ["y", "dx"] as const) {
      const off = difference(found[name], expected[name]);
      ok(off <= 1e-5, `${name} is off by ${off}`);
    }
  });
}
