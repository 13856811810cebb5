import { deepEqual, ok } from "node:assert/strict";
import { defineOp, Device, input, plan, randomNormal, randomUniform } from "../../engine/mod.ts";
import { RandomStream } from "../../random/philox.ts";

Deno.test("randomUniform() draws the numbers of the host's stream with the same key, to 24 bits", async () => {
  using device = await Device.open();
  const compiled = await device.compile(
    plan({ outputs: { y: randomUniform(input("key", [4], "u32"), { shape: [1003] }) } }),
  );
  for (
    const { seed, stream, step } of [
      { seed: 0, stream: 0, step: 0 },
      { seed: 2 ** 53 - 1, stream: 0xffffffff, step: 0xfffffffe },
      { seed: 0x123456789ab, stream: 7, step: 100_000 },
    ]
  ) {
    compiled.run({ key: [seed % 2 ** 32, Math.floor(seed / 2 ** 32), stream, step] });
    const host = new RandomStream({ seed, stream, step });
    deepEqual(
      [...(await compiled.read("y")).y],
      Array.from({ length: 1003 }, () => (host.nextUint32() >>> 8) / 2 ** 24),
    );
  }
});

Deno.test("randomUniform() gives the known answer for the zero counter and key", async () => {
  using device = await Device.open();
  const compiled = await device.compile(
    plan({ outputs: { y: randomUniform(input("key", [4], "u32"), { shape: [4] }) } }),
  );
  compiled.run({ key: [0, 0, 0, 0] });
  // philox4x32 10 of kat_vectors in Random123, https://github.com/DEShawResearch/random123
  const words = [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8];
  deepEqual([...(await compiled.read("y")).y], words.map((word) => (word >>> 8) / 2 ** 24));
});

Deno.test("randomNormal() draws from the standard normal distribution", async () => {
  using device = await Device.open();
  const count = 2 ** 18;
  const compiled = await device.compile(
    plan({ outputs: { y: randomNormal(input("key", [4], "u32"), { shape: [count] }) } }),
  );
  compiled.run({ key: [42, 0, 1, 2] });
  const values = [...(await compiled.read("y")).y];
  const moment = (power: number) => values.reduce((total, value) => total + value ** power, 0) / count;
  // Five standard deviations of each estimate: √(1, 2, 15, 96) / √count of them is one.
  for (const [power, expected, variance] of [[1, 0, 1], [2, 1, 2], [3, 0, 15], [4, 3, 96]]) {
    const off = Math.abs(moment(power) - expected);
    ok(off < 5 * Math.sqrt(variance / count), `moment ${power} is off by ${off}`);
  }
  const neighbours = values.slice(1).reduce((total, value, i) => total + value * values[i], 0) / count;
  ok(Math.abs(neighbours) < 5 / Math.sqrt(count), `neighbours correlate by ${neighbours}`);
});

Deno.test("randomNormal() is finite for the largest words, by the worst logarithm that WGSL allows", async () => {
  using device = await Device.open();
  const worst = defineOp({
    ...randomNormal.definition,
    kernel: (at) => {
      const { wgsl, ...kernel } = randomNormal.definition.kernel(at);
      const text = wgsl.replace(/philox\(vec4u\(i.*;/, "vec4u(0xffffffffu - 256u * i);").replace(/\blog\(/, "worst(");
      // Off by 2⁻²¹ between 0.5 and 2: https://www.w3.org/TR/WGSL/#concrete-float-accuracy
      return { ...kernel, wgsl: `${text}\nfn worst(x: f32) -> f32 { return log(x) + 0x1p-21f; }` };
    },
  });
  const compiled = await device.compile(
    plan({ outputs: { y: worst(input("key", [4], "u32"), { shape: [64] }) } }),
  );
  compiled.run({ key: [0, 0, 0, 0] });
  const { y } = await compiled.read("y");
  // Radii of √(2 · 2⁻²⁰) at most.
  ok(y.every((value) => Math.abs(value) < 0.002), `${y}`);
});
