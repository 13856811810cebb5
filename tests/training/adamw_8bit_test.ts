import { deepEqual, equal, ok } from "node:assert/strict";
import { flat, gradientByRule, parameterByRule, updateProgram, weightsOf } from "../../tools/probe/trajectory.ts";
import { dynamicMap } from "../../training/optimizers/dynamic_map.ts";
import type { OptimizerArguments } from "../../training/optimizers/arguments.ts";
import { makeOptimizer } from "../../training/optimizers/optimizers.ts";
import { goldenTensors, relativeError, sharedDevice } from "../probe/golden_tensors.ts";

const golden = await goldenTensors("training/optimizers/adamw8bit");
const numbers = (name: string) => golden.get(name)!.data;

/** Runs AdamW8bit on tensors of these shapes, and gives parameters and state back after the last step. */
async function run(
  shapes: Readonly<Record<string, readonly number[]>>,
  args: OptimizerArguments,
  steps: number,
  values: { parameter(name: string): Float32Array; gradient(name: string, step: number): Float32Array },
) {
  const device = await sharedDevice(), weights = weightsOf(shapes);
  const optimizer = makeOptimizer({ name: "AdamW8bit", arguments: args }, weights);
  const { program, halted } = updateProgram(weights, optimizer), compiled = await device.compile(program);
  device.upload(weights.weights, flat(weights, ({ name }) => values.parameter(name)));
  for (const [variable, initial] of optimizer.initial) device.upload(variable, initial);
  for (let step = 1; step <= steps; step++) {
    compiled.run({ gradient: flat(weights, ({ name }) => values.gradient(name, step)), rate: [1e-3] });
  }
  const parameters = await device.download(weights.weights) as Float32Array;
  const state: Record<string, Float32Array | Uint32Array> = {};
  for (const [name, variable] of Object.entries(optimizer.state)) {
    state[name] = await device.download(variable) as Float32Array;
  }
  device.release(compiled);
  device.free([weights.weights, halted, ...Object.values(optimizer.state), ...optimizer.initial.keys()]);
  return { weights, parameters, state };
}

/** Four codes a word; the second half is the second moment's. */
function bytesOf(words: Uint32Array, half: 0 | 1, from: number, count: number): Uint8Array {
  return new Uint8Array(words.buffer, 4 * (half * words.length / 2 + from), count);
}

Deno.test("dynamicMap() is bitsandbytes' map, with signs and without", () => {
  for (const [isSigned, name] of [[true, "map.signed"], [false, "map.unsigned"]] as const) {
    const map = dynamicMap(isSigned), wanted = numbers(name);
    equal(map.length, 256);
    ok(map.every((value, i) => Math.abs(value - wanted[i]) <= 1e-6), name);
  }
});

for (const steps of [1, 20]) {
  Deno.test(`AdamW8bit moves weights and keeps codes as the reference does, after ${steps} steps`, async () => {
    const shapes = { a: [7, 5], c: [300, 20], d: [128, 64] }, size = { a: 35, c: 6000, d: 8192 };
    const byName = (name: string) => ({ name, sizeElements: size[name as keyof typeof size] });
    const { weights, parameters, state } = await run(shapes, {}, steps, {
      parameter: (name) => parameterByRule(byName(name), 0),
      gradient: (name, step) => gradientByRule(byName(name), step, 0),
    });
    let block = 0, word = 0;
    for (const { name, offsetElements, sizeElements } of weights.tensors) {
      const start = parameterByRule(byName(name), 0), wanted = numbers(`${name}.parameter.step_${steps}`);
      const moved = (values: ArrayLike<number>) => Float64Array.from(values, (v, i) => v - start[i]);
      const found = parameters.subarray(offsetElements, offsetElements + sizeElements);
      const error = relativeError(moved(found), moved(wanted));
      ok(error <= 1e-3, `${name}: relative error ${error} of the movement`);
      // Below 4096 elements moments stay f32.
      equal(golden.has(`${name}.codes_1.step_${steps}`), sizeElements >= 4096);
      if (sizeElements < 4096) continue;
      const blocks = Math.ceil(sizeElements / 2048);
      for (const half of [0, 1] as const) {
        const codes = bytesOf(state.codes as Uint32Array, half, word, sizeElements);
        const away = Array.from(
          numbers(`${name}.codes_${half + 1}.step_${steps}`),
          (code, i) => Math.abs(code - codes[i]),
        );
        ok(away.every((distance) => distance <= 1), `${name}: a code of moment ${half + 1} is more than one apart`);
        ok(
          away.filter((distance) => distance).length <= sizeElements / 100,
          `${name}: codes of moment ${half + 1} differ`,
        );
        const from = half * state.largest.length / 2 + block;
        const largest = state.largest.subarray(from, from + blocks);
        ok(relativeError(largest, numbers(`${name}.absmax_${half + 1}.step_${steps}`)) <= 1e-4);
      }
      word += Math.ceil(sizeElements / 4);
      block += blocks;
    }
  });
}

Deno.test("AdamW8bit's codes are the reference's for numbers of all sizes, zero and tiny negative ones among them", async () => {
  const x = Float32Array.from(numbers("example.signed"));
  // With betas of 0 the moments are the gradient and its square.
  const { state } = await run({ x: [x.length] }, { betas: [0, 0] }, 1, {
    parameter: () => new Float32Array(x.length),
    gradient: () => x,
  });
  for (const [half, kind] of [[0, "signed"], [1, "unsigned"]] as const) {
    const codes = bytesOf(state.codes as Uint32Array, half, 0, x.length), wanted = numbers(`example.${kind}.codes`);
    const away = Array.from(wanted, (code, i) => Math.abs(code - codes[i]));
    ok(away.every((distance) => distance <= 1));
    ok(away.filter((distance) => distance).length <= x.length / 1000, kind);
    const largest = state.largest.subarray(half * state.largest.length / 2).subarray(0, 3);
    ok(relativeError(largest, numbers(`example.${kind}.absmax`)) <= 1e-6);
  }
  // A negative moment never becomes 0: it takes the code below.
  const zero = dynamicMap(true).indexOf(0), codes = bytesOf(state.codes as Uint32Array, 0, 0, 3);
  deepEqual([...codes], [zero, zero, zero - 1]);
  deepEqual([...x.subarray(0, 3)], [0, 1e-12, -1e-12].map(Math.fround));
});
