import { equal, ok, throws } from "node:assert/strict";
import { decodeFloat32, encodeFloat32 } from "../../../formats/element_types.ts";
import { fromQ8, toQ8 } from "../../graph/q8.ts";
import { runKernel, testDevice } from "./_test_device.ts";
import { buffers, Stored } from "./storage.ts";

const { device } = await testDevice();
const formats = [
  ...device.features.has("shader-f16") ? [{ dtype: "f16", f16: true } as const] : [],
  { dtype: "f16", f16: false },
  { dtype: "bf16", f16: true },
] as const;

/** Copies `count` elements from one buffer into another, formats as they are. */
async function copied(
  from: Stored,
  to: Stored,
  input: Float32Array | Uint16Array,
  bytes: number,
  elements = input.length,
) {
  const count = elements / from.width;
  const kernel = {
    workgroups: [Math.ceil(count / 64), 1, 1] as const,
    wgsl: `${buffers([from], [to])}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3u) {
  if (at.x < ${count}u) { ${to.store("at.x", from.load("at.x"))} }
}`,
  };
  return (await runKernel(device, kernel, [input], [bytes / 4]))[0];
}

/** All 65,536 patterns of 16 bits. */
const patterns = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits);

for (const { dtype, f16 } of formats) {
  const how = dtype === "bf16" || !f16 ? "in pairs" : "as WGSL has it";
  const target = { f16 }, type = dtype === "f16" ? "F16" : "BF16";

  Deno.test(`every ${dtype} number is read exactly, ${how}, one, two or four at a time`, async () => {
    const expected = decodeFloat32(new Uint8Array(patterns.buffer), type);
    for (const width of [1, 2, 4] as const) {
      const found = await copied(
        new Stored("x", { dtype }, width, target),
        new Stored("result", { dtype: "f32" }, width, target),
        patterns,
        4 * patterns.length,
      );
      const wrong = expected.findIndex((value, bits) => !Object.is(found[bits], value));
      equal(wrong, -1, `${width} at a time: bits ${wrong} are ${found[wrong]}, wanted ${expected[wrong]}`);
    }
  });

  Deno.test(`f32 is stored as the nearest ${dtype}, ties to even, ${how}`, async () => {
    // Every number of the format, halfway to the next one, and a little to either side of that.
    const exact = decodeFloat32(new Uint8Array(patterns.buffer), type);
    const values = new Float32Array(4 * exact.length);
    exact.forEach((value, bits) => {
      const next = exact[bits + 1] ?? value, isLast = !Number.isFinite(next);
      const half = isLast ? value : (value + next) / 2;
      values.set([value, half, half * (1 - 1e-6), half * (1 + 1e-6)], 4 * bits);
    });
    const kept = values.map((value) =>
      dtype === "f16" && Math.abs(value) > 65504 && Number.isFinite(value) ? 65504 * Math.sign(value) : value
    );
    const expected = decodeFloat32(encodeFloat32(kept, type), type);
    for (const width of f16 && dtype === "f16" ? [1, 2, 4] as const : [2, 4] as const) {
      const found = await copied(
        new Stored("x", { dtype: "f32" }, width, target),
        new Stored("result", { dtype }, width, target),
        values,
        2 * values.length,
      );
      const stored = decodeFloat32(new Uint8Array(found.buffer), type);
      const wrong = expected.findIndex((value, i) => !Object.is(stored[i], value));
      equal(wrong, -1, `${width} at a time: ${values[wrong]} became ${stored[wrong]}, wanted ${expected[wrong]}`);
    }
  });

  Deno.test(`numbers beyond ${dtype}'s range are stored as its largest, and what is not finite stays so, ${how}`, async () => {
    const values = Float32Array.of(65504, 65519, 65520, 7e4, -7e4, 1e30, -3e38, Infinity, -Infinity, NaN, 0, -0);
    const found = await copied(
      new Stored("x", { dtype: "f32" }, 4, target),
      new Stored("result", { dtype }, 4, target),
      values,
      2 * values.length,
    );
    const stored = decodeFloat32(new Uint8Array(found.buffer), type);
    const expected = dtype === "f16"
      ? [65504, 65504, 65504, 65504, -65504, 65504, -65504, Infinity, -Infinity, NaN, 0, -0]
      : [65536, 65536, 65536, 70144, -70144, 1.578125 * 2 ** 99, -1.765625 * 2 ** 127, Infinity, -Infinity, NaN, 0, -0];
    for (const [i, value] of expected.entries()) {
      ok(Object.is(stored[i], value), `${values[i]} became ${stored[i]}, wanted ${value}`);
    }
  });
}

Deno.test("q8 numbers are read as the host reads them, one, two or four at a time", async () => {
  const words = toQ8(Float32Array.from({ length: 320 }, (_, i) => Math.sin(i * i) * 3 ** (i >> 5)));
  const expected = fromQ8(words), target = { f16: true };
  for (const width of [1, 2, 4] as const) {
    const found = await copied(
      new Stored("x", { dtype: "q8" }, width, target),
      new Stored("result", { dtype: "f32" }, width, target),
      new Float32Array(words.buffer),
      4 * expected.length,
      expected.length,
    );
    const wrong = expected.findIndex((value, i) => !(Math.abs(found[i] - value) <= 2e-7 * Math.abs(value)));
    equal(wrong, -1, `${width} at a time: number ${wrong} is ${found[wrong]}, wanted ${expected[wrong]}`);
  }
});

Deno.test("q8 is not written by kernels", () => {
  throws(() => buffers([], [new Stored("y", { dtype: "q8" }, 4, { f16: true })]), {
    name: "TypeError",
    message: "Cannot store y: q8 is for weights that never change",
  });
});

Deno.test("a single element that is stored in pairs is refused", () => {
  throws(() => buffers([], [new Stored("y", { dtype: "bf16" }, 1, { f16: true })]), {
    name: "TypeError",
    message: "Cannot store single elements of y: bf16 is stored in pairs here",
  });
});
