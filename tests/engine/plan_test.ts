import { deepEqual, equal, ok, throws } from "node:assert/strict";
import fc from "fast-check";
import {
  accumulate,
  add,
  concat,
  elementCount,
  exp,
  input,
  pack,
  plan,
  type Program,
  programText,
  reshape,
  scale,
  scoped,
  square,
  type Tensor,
  Variable,
} from "../../engine/mod.ts";

const opNames = (program: Program) => program.steps.map((step) => step.kind === "node" ? step.node.op.name : step.kind);

Deno.test("plan() reuses slots as soon as their values are dead", () => {
  const x = input("x", [64]), w = new Variable("w", { shape: [64], dtype: "f32" });
  const doubled = scale(x, { factor: 2 });
  const shifted = scoped("block", () => scoped("0", () => add(doubled, w.tensor)));
  const joined = add(shifted, x);
  const y = square(joined);
  // x lives until step 2, `doubled` from 0 to 1, `shifted` from 1 to 2, `joined` from 2 to 3, y from 3 on. In this order, for all are of
  // one size, each takes the first slot that is free at its steps: x #0; doubled #1; shifted #2, meeting both; joined #1; y #0.
  equal(
    programText(plan({ outputs: { y } })),
    `0 scale(#0) -> #1
1 add(#1, w) -> #2  block.0
2 add(#2, #0) -> #1
3 square(#1) -> #0
slots 256 256 256 bytes; variables 256 bytes; peak 1024 bytes`,
  );
});

Deno.test("plan() drops what no output needs", () => {
  const x = input("x", [64]), y = scale(x, { factor: 2 });
  square(y);
  add(y, x);
  deepEqual(opNames(plan({ outputs: { y } })), ["scale"]);
});

Deno.test("plan() runs a node once, however many need it", () => {
  const x = input("x", [64]), shared = square(x);
  const program = plan({ outputs: { a: add(shared, shared), b: scale(shared, { factor: 3 }) } });
  deepEqual(opNames(program), ["square", "add", "scale"]);
});

Deno.test("plan() computes parts in place that their pack alone needs", () => {
  const x = input("x", [64]);
  const packed = pack([square(x), reshape(scale(x, { factor: 2 }), [8, 8])], [0, 128], 192);
  const program = plan({ outputs: { packed } });
  deepEqual(opNames(program), ["clear", "square", "scale"]);
  const writes = program.steps.slice(1).map((step) => step.bindings[step.bindings.length - 1]);
  deepEqual(writes.map(({ buffer }) => buffer), [program.outputs.get("packed")!.location.buffer, writes[0].buffer]);
  deepEqual(writes.map(({ offsetBytes }) => offsetBytes), [0, 512]);
});

Deno.test("plan() clears a pack when its first part comes, unless the parts cover it", () => {
  const x = input("x", [64]), early = square(x), late = scale(early, { factor: 2 });
  const packed = (offset: number) =>
    plan({ outputs: { packed: pack([late, square(late)], [0, offset], offset + 64) } });
  deepEqual(opNames(packed(64)), ["square", "scale", "copy", "square"]);
  const gaping = packed(128);
  deepEqual(opNames(gaping), ["square", "scale", "clear", "copy", "square"]);
  // 192 floats, all of them.
  deepEqual(gaping.steps[2].bindings.map(({ offsetBytes, sizeBytes }) => [offsetBytes, sizeBytes]), [[0, 768]]);
  throws(() => pack([reshape(pack([x], [0], 64), [8, 8])], [0], 64), {
    message: "Cannot pack: part 0 is a pack itself",
  });
});

Deno.test("plan() lets packs share slots with what lives before and after them", () => {
  const x = input("x", [64]), y = square(pack([square(x), scale(x, { factor: 3 })], [0, 64], 128));
  const z = scale(pack([square(reshape(y, [2, 64])), exp(x)], [0, 128], 192), { factor: 2 });
  // At most two of these live at once: the packs (128 and 192), y (128), the second pack's scaled copy (192).
  deepEqual([...plan({ outputs: { z } }).slots].sort((a, b) => a - b), [256, 768, 768]);
});

Deno.test("plan() copies parts that are needed elsewhere too, or come from outside", () => {
  const x = input("x", [64]), shared = square(x);
  const packed = pack([shared, x], [0, 64], 128);
  const program = plan({ outputs: { packed, y: scale(shared, { factor: 2 }) } });
  deepEqual(opNames(program), ["copy", "square", "copy", "scale"]);
});

Deno.test("plan() refuses to read a variable after an effect has overwritten it", () => {
  const total = new Variable("total", { shape: [64], dtype: "f32" }), x = input("x", [64]);
  const effect = accumulate(total.tensor, x, { keep: 1 });
  const late = scoped("report", () => scale(reshape(total.tensor, [8, 8]), { factor: 2 }));
  throws(() => plan({ outputs: { late }, effects: [effect] }), {
    name: "TypeError",
    message: "Cannot plan: scale in report reads variable total as it is when a run begins, " +
      "but accumulate overwrites it before. Trace scale before accumulate, or let it read what accumulate gives",
  });
});

Deno.test("plan() reads a variable before an effect overwrites it, and its new value through the effect", () => {
  const total = new Variable("total", { shape: [64], dtype: "f32" }), x = input("x", [64]);
  const before = scale(total.tensor, { factor: 2 });
  const effect = accumulate(total.tensor, x, { keep: 1 });
  const after = scale(reshape(effect, [8, 8]), { factor: 3 });
  deepEqual(opNames(plan({ outputs: { before, after }, effects: [effect] })), ["scale", "accumulate", "scale"]);
});

Deno.test("plan() refuses two inputs of one name", () => {
  throws(() => plan({ outputs: { y: add(input("x", [4]), input("x", [4])) } }), {
    message: "Cannot plan: two inputs are named x",
  });
});

/** Instructions for a random graph; numbers choose among the values that exist so far. */
const instruction = fc.record({
  kind: fc.constantFrom("square", "scale", "add", "concat", "view", "pack"),
  a: fc.nat(),
  b: fc.nat(),
});

function build(instructions: readonly { kind: string; a: number; b: number }[], kept: readonly number[]) {
  const weight = new Variable("weight", { shape: [128], dtype: "f32" });
  const values: Tensor[] = [input("x", [64]), input("z", [128]), weight.tensor];
  for (const { kind, a, b } of instructions) {
    const left = values[a % values.length], size = elementCount(left.shape);
    const same = values.filter((value) => elementCount(value.shape) === size);
    const right = reshape(same[b % same.length], left.shape);
    if (kind === "square") values.push(square(left));
    else if (kind === "scale") values.push(scale(left, { factor: 2 }));
    else if (kind === "add") values.push(add(left, right));
    else if (kind === "view") values.push(reshape(left, [2, size / 2]));
    else if (kind === "concat" && size <= 1024) {
      values.push(concat(reshape(left, [size]), reshape(right, [size]), { axis: 0 }));
    } else if (kind === "pack" && !isPack(left) && size <= 1024) {
      const part = square(left);
      values.push(pack([reshape(left, [size]), part], [0, size], 2 * size + 64));
    }
  }
  const outputs = kept.map((place) => values[place % values.length]);
  return Object.fromEntries(outputs.map((tensor, i) => [`output ${i}`, tensor]));
}

/** Packs cannot be parts of packs. */
function isPack(tensor: Tensor): boolean {
  return tensor.source.kind === "view" ? isPack(tensor.source.of) : tensor.source.kind === "pack";
}

/** A tensor's name that depends only on where its values come from, and on the offset in that. */
function identity(tensor: Tensor): string {
  const { source } = tensor;
  switch (source.kind) {
    case "view":
      return identity(source.of);
    case "node":
      return `node ${source.node.id} output ${source.output}`;
    case "input":
      return `input ${source.name}`;
    case "variable":
      return `variable ${source.variable.name}`;
    case "pack":
      return `pack of ${
        source.parts.map((part) => `${identity(part.tensor)} at ${part.offsetElements * 4}`).join(", ")
      }`;
  }
}

/** What a pack holds, by offset in bytes. */
function contents(tensor: Tensor): [number, string][] {
  let base = tensor;
  while (base.source.kind === "view") base = base.source.of;
  return base.source.kind === "pack"
    ? base.source.parts.map((part) => [part.offsetElements * 4, identity(part.tensor)])
    : [[0, identity(base)]];
}

/** Runs the program on names instead of numbers: memory holds, for each slot and offset, what was written there last. */
function simulate(program: Program, outputs: Record<string, Tensor>): void {
  const memory = new Map<string, string>();
  const cell = ({ buffer }: { buffer: Program["steps"][number]["bindings"][number]["buffer"] }, offset: number) =>
    `${buffer.kind === "slot" ? buffer.slot : buffer.variable.name} ${offset}`;
  const write = (binding: Program["steps"][number]["bindings"][number], value: string) => {
    if (binding.buffer.kind === "slot") {
      ok(binding.offsetBytes + binding.sizeBytes <= program.slots[binding.buffer.slot], "a binding leaves its slot");
    }
    for (const known of [...memory.keys()]) {
      const [buffer, offset] = known.split(" ");
      const inside = Number(offset) >= binding.offsetBytes && Number(offset) < binding.offsetBytes + binding.sizeBytes;
      if (cell(binding, Number(offset)).split(" ")[0] === buffer && inside) memory.delete(known);
    }
    memory.set(cell(binding, binding.offsetBytes), value);
  };
  const check = (location: Program["steps"][number]["bindings"][number], tensor: Tensor, who: string) => {
    for (const [offset, value] of contents(tensor)) {
      equal(memory.get(cell(location, location.offsetBytes + offset)), value, `${who} reads what was overwritten`);
    }
  };
  for (const { name } of program.variables) memory.set(`${name} 0`, `variable ${name}`);
  for (const [name, { location }] of program.inputs) write({ ...location, access: "read_write" }, `input ${name}`);
  for (let first = 0, next; first < program.steps.length; first = next) {
    next = first + 1;
    const isBeside = (step?: Program["steps"][number]) => step?.kind === "node" && step.beside;
    while (isBeside(program.steps[next])) next++;
    // All that are side by side read before any of them writes.
    const together = program.steps.slice(first, next).map((step) => ({
      step,
      reads: step.bindings.filter(({ access }) => access === "read"),
      writes: step.bindings.filter(({ access }) => access === "read_write"),
    }));
    for (const read of together.flatMap(({ reads }) => reads)) {
      const written = together.flatMap(({ writes }) => writes);
      ok(!written.some((other) => cell(other, 0) === cell(read, 0)), "bound for both");
    }
    for (const { step, reads } of together) {
      if (step.kind !== "node") continue;
      step.node.inputs.filter((tensor) => tensor !== null).forEach((tensor, i) =>
        check(reads[i], tensor, step.node.op.name)
      );
    }
    for (const { step, reads, writes } of together) {
      if (step.kind === "copy") write(writes[0], memory.get(cell(reads[0], reads[0].offsetBytes))!);
      else if (step.kind === "clear") write(writes[0], "zeros");
      else writes.forEach((binding, output) => write(binding, `node ${step.node.id} output ${output}`));
    }
  }
  for (const [name, tensor] of Object.entries(outputs)) {
    check({ ...program.outputs.get(name)!.location, access: "read" }, tensor, name);
  }
}

Deno.test("plan() never lets a value be overwritten that is still needed, whatever the graph", () => {
  fc.assert(
    fc.property(
      fc.array(instruction, { minLength: 1, maxLength: 25 }),
      fc.array(fc.nat(), { minLength: 1, maxLength: 4 }),
      (instructions, kept) => {
        const outputs = build(instructions, kept), program = plan({ outputs });
        simulate(program, outputs);
        equal(
          program.peakBytes,
          [...program.slots, ...program.variables.map(({ shape }) => 4 * elementCount(shape))].reduce(
            (a, b) => a + b,
            0,
          ),
        );
      },
    ),
    { numRuns: 500, seed: 1 },
  );
});
