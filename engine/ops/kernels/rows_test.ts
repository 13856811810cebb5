import { ok } from "node:assert/strict";
import { layerNorm } from "../layer_norm.ts";
import { runKernel, testDevice, testValues, toF16 } from "./_test_device.ts";

const { device, targets } = await testDevice();

/** Layer norm of each row by the definition. */
function byDefinition(x: Float32Array, weight: Float32Array, epsilon: number): Float64Array {
  const size = weight.length, y = new Float64Array(x.length);
  for (let row = 0; row < x.length; row += size) {
    const values = [...x.subarray(row, row + size)], mean = values.reduce((a, b) => a + b) / size;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / size;
    values.forEach((value, i) => y[row + i] = (value - mean) / Math.sqrt(variance + epsilon) * weight[i]);
  }
  return y;
}

const cases = [
  // Of the last workgroup some rows are beyond the end.
  { rows: 533, size: 20 },
  { rows: 7, size: 37 },
  // As many rows as a GPU's workgroup has teams.
  { rows: 64, size: 24 },
  { rows: 3, size: 1280 },
  // Longer than the registers of a GPU's workgroup hold.
  { rows: 2, size: 8200 },
];

for (const { rows, size } of cases) {
  Deno.test(`layer norm of ${rows} rows of ${size} agrees with the definition, on this adapter and as on a GPU`, async () => {
    const x = testValues(rows * size, 1), weight = testValues(size, 2), epsilon = 1e-5;
    const expected = byDefinition(x, weight, epsilon), shape = [rows, size];
    for (const target of targets) {
      const type = { shape, dtype: "f32" } as const,
        inputs = { x: { shape, dtype: "f16" }, weight: { shape: [size], dtype: "f32" }, bias: null } as const;
      const kernel = layerNorm.definition.kernel({
        inputs,
        output: type,
        outputs: [type],
        attributes: { epsilon },
        target,
      });
      const [found] = await runKernel(device, kernel, [toF16(x), weight], [x.length]);
      const wrong = found.findIndex((value, i) =>
        !(Math.abs(value - expected[i]) <= 1e-5 * (1 + Math.abs(expected[i])))
      );
      ok(wrong < 0, `cpu ${target.cpu}: element ${wrong} is ${found[wrong]}, not ${expected[wrong]}`);
    }
  });
}
