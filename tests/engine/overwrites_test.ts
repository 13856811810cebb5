import { deepEqual, ok, throws } from "node:assert/strict";
import {
  accumulate,
  adamwStep,
  Device,
  input,
  linear,
  pack,
  plan,
  reshape,
  scale,
  scoped,
  type Tensor,
  Variable,
  window,
} from "../../engine/mod.ts";

const of = (value: number, count = 64) => new Float32Array(count).fill(value);
const total = () => new Variable("total", { shape: [64], dtype: "f32" });

/** A variable of ones to which 2 and then 4 is added, each in a scope of its own. */
function twice() {
  const variable = total();
  const add = (name: string) => scoped(name, () => accumulate(variable.tensor, input(name, [64]), { keep: 1 }));
  const before = scale(variable.tensor, { factor: 10 }), first = add("first"), between = scale(first, { factor: 10 });
  const second = add("second");
  return { variable, before, first, between, second };
}

Deno.test("what is read of a variable in between is what was there then, and packs keep it", async () => {
  using device = await Device.open();
  for (const fused of [true, false]) {
    const { variable, before, first, between, second } = twice();
    // Traced behind both: a pack's parts are copied when they are there.
    const packed = pack([first, variable.tensor, second], [0, 64, 128], 192), after = scale(packed, { factor: 10 });
    device.upload(variable, of(1));
    const program = await device.compile(plan({ outputs: { before, between, after, second }, fused }));
    program.run({ first: of(2), second: of(4) });
    // 1; 1 + 2; 1 + 2 + 4.
    deepEqual(await program.read("before", "between", "second"), { before: of(10), between: of(30), second: of(7) });
    deepEqual((await program.read("after")).after, Float32Array.of(...of(30), ...of(10), ...of(70)));
  }
});

Deno.test("plan() refuses to read what an op left in a variable after another has overwritten that", () => {
  const { first, second } = twice(), late = scoped("report", () => scale(reshape(first, [8, 8]), { factor: 2 }));
  throws(() => plan({ outputs: { late }, effects: [second] }), {
    name: "TypeError",
    message: "Cannot plan: scale in report reads variable total as accumulate in first left it, " +
      "but accumulate in second overwrites it before. Trace scale before accumulate, or let it read what accumulate gives",
  });
  // Nobody needs the second then.
  plan({ outputs: { late } });
});

Deno.test("plan() refuses an output that is overwritten before it can be read", () => {
  const { variable, first, second } = twice(), effects = [first, second];
  const wayOut = "Put out what accumulate gives, or a copy traced before it, such as scale(…, { factor: 1 })";
  throws(() => plan({ outputs: { sum: first }, effects }), {
    name: "TypeError",
    message: "Cannot plan: output sum is variable total as accumulate in first left it, " +
      `but accumulate in second overwrites it before it can be read. ${wayOut}`,
  });
  throws(() => plan({ outputs: { start: variable.tensor }, effects }), {
    name: "TypeError",
    message: "Cannot plan: output start is variable total as it is when a run begins, " +
      `but accumulate in first overwrites it before it can be read. ${wayOut}`,
  });
});

Deno.test("windows of a variable that do not meet are overwritten and read apart", async () => {
  using device = await Device.open();
  const flat = new Variable("flat", { shape: [192], dtype: "f32" });
  const part = (at: number) => window(flat.tensor, at * 64, [64]);
  const left = accumulate(part(0), input("x", [64]), { keep: 1 });
  const right = accumulate(part(1), input("y", [64]), { keep: 1 });
  const outputs = { left: scale(left, { factor: 10 }), rest: scale(part(2), { factor: 10 }), raw: left };
  device.upload(flat, Float32Array.of(...of(1), ...of(2), ...of(3)));
  const program = await device.compile(plan({ outputs, effects: [right] }));
  program.run({ x: of(4), y: of(5) });
  deepEqual(await program.read("left", "rest", "raw"), { left: of(50), rest: of(30), raw: of(5) });
  deepEqual(await device.download(flat), Float32Array.of(...of(5), ...of(7), ...of(3)));
  const late = scale(window(flat.tensor, 0, [128]), { factor: 2 });
  throws(() => plan({ outputs: { late }, effects: [right] }), {
    message:
      /^Cannot plan: scale reads variable flat as it is when a run begins, but accumulate overwrites it before\. /,
  });
});

Deno.test("a layer is not joined to a part that would read its weight after an update", async () => {
  using device = await Device.open();
  const weight = new Variable("weight", { shape: [8, 8], dtype: "f32" }), x = input("x", [8, 8]);
  const low = linear(x, weight.tensor), update = accumulate(weight.tensor, input("g", [8, 8]), { keep: 1 });
  const y = linear(x, input("other", [8, 8]), null, { addend: low });
  device.upload(weight, of(1));
  const program = await device.compile(plan({ outputs: { y }, effects: [update] }));
  program.run({ x: of(1), g: of(5), other: of(2) });
  // 8 · 1 · 1 + 8 · 1 · 2; 1 + 5.
  deepEqual((await program.read("y")).y, of(24));
  deepEqual(await device.download(weight), of(6));
});

Deno.test("an op refuses to overwrite a variable that it is given to read as well", () => {
  const { variable, first } = twice(), flat = new Variable("flat", { shape: [128], dtype: "f32" });
  const message = (name: string) =>
    `Cannot accumulate in update: total is overwritten, but x lies in the same variable, ${name}. ` +
    "Give a copy as x, such as scale(…, { factor: 1 })";
  const cases: [Tensor, Tensor, string][] = [
    [variable.tensor, variable.tensor, "total"],
    [variable.tensor, reshape(reshape(first, [8, 8]), [64]), "total"],
    // WebGPU binds no buffer for reading and for writing, not even different parts of it.
    [window(flat.tensor, 0, [64]), window(flat.tensor, 64, [64]), "flat"],
  ];
  for (const [overwritten, read, name] of cases) {
    throws(() => scoped("update", () => accumulate(overwritten, read, { keep: 1 })), {
      name: "TypeError",
      message: message(name),
    });
  }
});

Deno.test("an op overwrites two windows of one variable, but not one place twice", async () => {
  const flat = new Variable("moments", { shape: [128], dtype: "f32" }), weights = total();
  const at = (offset: number) => window(flat.tensor, offset, [64]);
  const [gradient, halted] = [input("gradient", [64]), input("halted", [1], "u32")];
  const [rate, clock] = [input("rate", [1]), input("clock", [1])];
  const attributes = { beta1: 0.5, beta2: 0.75, epsilon: 0, weightDecay: 0 };
  const step = (second: Tensor) => adamwStep(weights.tensor, at(0), second, gradient, halted, rate, clock, attributes);
  throws(() => step(at(0)), {
    name: "TypeError",
    message: "Cannot adamw_step: firstMoment is overwritten, but secondMoment lies in the same variable, moments. " +
      "Give a variable of its own as secondMoment, or a window that does not meet it",
  });
  using device = await Device.open();
  const program = await device.compile(plan({ effects: step(at(64)) }));
  program.run({ gradient: of(2), halted: [0], rate: [0.25], clock: [1] });
  // m = 2 · (1 − 0.5), v = 2² · (1 − 0.75).
  deepEqual(await device.download(flat), of(1, 128));
  // 0 − 0.25 · (1 / (1 − 0.5)) / √(1 / (1 − 0.75)).
  const moved = await device.download(weights);
  ok(moved.every((value) => Math.abs(value + 0.25) < 1e-6), `weights are ${moved[0]}`);
});

Deno.test("a variable is added onto itself through a copy", async () => {
  using device = await Device.open();
  const variable = total(), doubled = accumulate(variable.tensor, scale(variable.tensor, { factor: 1 }), { keep: 1 });
  device.upload(variable, of(3));
  const program = await device.compile(plan({ outputs: { doubled } }));
  program.run();
  program.run();
  deepEqual((await program.read("doubled")).doubled, of(12));
});
