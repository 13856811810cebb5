import { deepEqual } from "node:assert/strict";
import { defineOp } from "../../engine/graph/op.ts";
import { elementwise } from "../../engine/ops/kernels/elementwise.ts";
import { add, Device, dispatchesOf, input, plan, type Program, square, type Tensor } from "../../engine/mod.ts";
import { together, twice } from "./made_together.ts";

const device = await Device.open();
addEventListener("unload", () => device.dispose());

function stepsOf(program: Program): number[][] {
  return dispatchesOf(program, device.facts.target).map((each) => "steps" in each ? [...each.steps] : []);
}

/** The steps of each dispatch, and what the outputs are for x = 1, 2, 3 and, where there is one, another = 4, 5, 6. */
async function run(outputs: Record<string, Tensor>) {
  const program = plan({ outputs }), compiled = await device.compile(program);
  const feeds: Record<string, number[]> = { x: [1, 2, 3], another: [4, 5, 6] };
  compiled.run(Object.fromEntries([...program.inputs.keys()].map((name) => [name, feeds[name]])));
  const found = await compiled.read(...Object.keys(outputs));
  device.release(compiled);
  return {
    steps: stepsOf(program),
    found: Object.fromEntries(Object.entries(found).map(([name, values]) => [name, [...values]])),
  };
}

Deno.test("a step whose kernel makes its input too takes the dispatch of the step in front, and both are there for others", async () => {
  const x = input("x", [3]), doubled = twice(x), y = together(x, doubled);
  deepEqual(await run({ y, doubled, later: add(doubled, y) }), {
    steps: [[0, 1], [2]],
    found: { y: [21, 42, 63], doubled: [2, 4, 6], later: [23, 46, 69] },
  });
});

Deno.test("what others read before is made where it was", async () => {
  const x = input("x", [3]), doubled = twice(x), before = square(doubled);
  const { steps, found } = await run({ before, y: together(before, doubled), z: together(x, doubled) });
  deepEqual(steps.length, 4);
  deepEqual(found, { before: [4, 16, 36], y: [24, 56, 96], z: [21, 42, 63] });
});

Deno.test("what others read at the same time is made before all of them", async () => {
  const x = input("x", [3]), another = input("another", [3]), doubled = twice(x);
  // Without memory of their own the first and the last are joined, and run before the one between.
  const outputs = {
    first: together(another, square(another)),
    y: together(x, doubled),
    last: together(another, doubled),
  };
  deepEqual((await run(outputs)).found, { first: [164, 255, 366], y: [21, 42, 63], last: [24, 45, 66] });
});

Deno.test("a step that makes an input of its own stays", async () => {
  const x = input("x", [3]), doubled = twice(x);
  const kernel = elementwise("x + doubled + y");
  const all = defineOp({
    name: "all",
    inputs: ["x", "doubled", "y"],
    type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
    kernel,
    kernelMaking: (_, producer, at) => producer === together.definition ? kernel(at) : null,
    samples: [],
  });
  deepEqual(await run({ z: all(x, doubled, together(x, doubled)) }), {
    steps: [[0, 1], [2]],
    found: { z: [24, 48, 72] },
  });
});

Deno.test("in a plan whose nodes stay as they were traced each step has a dispatch of its own", () => {
  const x = input("x", [3]), program = plan({ outputs: { y: together(x, twice(x)) }, fused: false });
  deepEqual(stepsOf(program), [[0], [1]]);
});

Deno.test("an input is made by the op's kernel from the op's own inputs alone", async () => {
  const x = input("x", [3]), another = input("another", [3]);
  deepEqual(await run({ y: together(x, twice(another)) }), { steps: [[0], [1]], found: { y: [81, 102, 123] } });
});

Deno.test("alike steps that make an input each run side by side", async () => {
  const pairs = ["x", "another"].map((name) => {
    const x = input(name, [3]);
    return together(x, twice(x));
  });
  deepEqual(await run({ one: pairs[0], two: pairs[1] }), {
    steps: [[0, 2, 1, 3]],
    found: { one: [21, 42, 63], two: [84, 105, 126] },
  });
});
