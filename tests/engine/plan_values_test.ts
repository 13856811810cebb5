import { ok } from "node:assert/strict";
import fc from "fast-check";
import {
  accumulate,
  add,
  countDispatches,
  Device,
  gradients,
  input,
  linear,
  matmul,
  multiply,
  pack,
  plan,
  reshape,
  scale,
  silu,
  slice,
  square,
  type Tensor,
  Variable,
  window,
} from "../../engine/mod.ts";
import { originOf } from "../../engine/graph/tensor.ts";
import { type Memory, type Named, runGraph, runProgram } from "./interpreter.ts";
import { together, twice } from "./made_together.ts";
import { difference, numbers } from "./op_check.ts";
import { cardTarget, cpuTarget } from "./targets.ts";

/** Side of the square weights: one is 256 bytes, the alignment of bindings. */
const side = 8, cells = side * side;

const targets = { cpu: cpuTarget, card: cardTarget };

/** One line of what both networks do: an op, and numbers that choose what it is done to. */
interface Line {
  readonly op: number;
  readonly a: number;
  readonly b: number;
  /** A network that leaves the line out; most are done by both. */
  readonly without: number;
}

interface Case {
  readonly lines: readonly Line[];
  /** Rows of each network's pictures. */
  readonly rows: readonly [number, number];
  /** Layers in front of all lines. */
  readonly layers: number;
  /** Most bytes that may lie together; as many as ever when left out. */
  readonly togetherBytes: number | undefined;
}

const cases: fc.Arbitrary<Case> = fc.record({
  lines: fc.array(
    fc.record({ op: fc.nat(11), a: fc.nat(99), b: fc.nat(99), without: fc.nat(12) }),
    { minLength: 1, maxLength: 16 },
  ),
  rows: fc.constantFrom([8, 8] as const, [16, 16] as const, [8, 16] as const),
  layers: fc.constantFrom(0, 10),
  togetherBytes: fc.constantFrom(undefined, undefined, 512, 2048),
});

/** What a program is wanted for, and all variables that it reads or changes. */
interface Graph {
  readonly outputs: Record<string, Tensor>;
  readonly effects: readonly Tensor[];
  readonly variables: readonly Variable[];
}

/** Two networks that do the same, or nearly, as in a training: layers by flat weights and by shared ones, gradients, updates. */
function trace({ lines, rows, layers }: Case): Graph {
  const variables: Variable[] = [], outputs: Record<string, Tensor> = {}, effects: Tensor[] = [];
  const variable = (name: string, shape: number[]) => {
    variables.push(new Variable(name, { shape, dtype: "f32" }));
    return variables.at(-1)!;
  };
  const packsOf = new Map<Line, Tensor>();
  const shared = [0, 1, 2].map((i) => variable(`shared ${i}`, [side, side])), bias = variable("bias", [side]);
  for (const network of [1, 2]) {
    const shape = [rows[network - 1], side], count = rows[network - 1] * side, flatShape = [count];
    const flat = variable(`flat ${network}`, [3 * cells]), total = variable(`total ${network}`, flatShape);
    const own = [0, 1, 2].map((i) => window(flat.tensor, i * cells, [side, side]));
    let values = [input(`x ${network}`, shape), input(`y ${network}`, shape)], sums: Tensor | null = null;
    const packs: Tensor[] = [];
    for (let i = 0; i < layers; i++) values.push(linear(values.at(-1)!, own[i % 3]));
    for (const line of lines) {
      const { op, a, b, without } = line;
      if (without === network) continue;
      const x = values[a % values.length], y = values[b % values.length];
      switch (op) {
        case 0:
          values.push(linear(x, own[b % 3]));
          break;
        case 1:
          values.push(linear(x, shared[b % 3].tensor, bias.tensor));
          break;
        case 2: {
          // A layer with its low-rank part.
          const down = linear(x, own[b % 3]);
          values.push(linear(down, own[(b + 1) % 3], null, { addend: linear(x, shared[a % 3].tensor), scale: 0.5 }));
          break;
        }
        case 3:
          values.push(multiply(scale(x, { factor: 0.25 }), y));
          break;
        case 4:
          values.push(silu(x));
          break;
        case 5:
          values.push(add(silu(x), y));
          break;
        case 6: {
          const half = slice(x, { axis: 1, start: 4, length: 4 });
          values.push(matmul(half, window(flat.tensor, cells, [4, side]), null, y));
          break;
        }
        case 7: {
          // No pack holds another.
          const plain = values.filter((value) => !packs.includes(originOf(value)));
          const corner = window(reshape(silu(y), flatShape), count - cells, [cells]);
          // Network 2 may read what network 1 has packed, as the method's loss does.
          const theirs = network === 2 && b % 3 === 0 ? packsOf.get(line) : undefined;
          // What a pack alone wants is computed in place, at any depth.
          const own = b % 3 === 1 ? silu(x) : plain[b % plain.length];
          const part = theirs ? silu(window(theirs, 0, flatShape)) : own;
          const parts = [reshape(square(x), flatShape), reshape(part, flatShape), corner];
          const packed = pack(parts, [0, count, 2 * count], 3 * count + b % 2 * cells);
          packs.push(packed);
          if (!packsOf.has(line)) packsOf.set(line, packed);
          values.push(window(packed, a % 2 * count, shape));
          break;
        }
        case 8:
          // What it was before is gone then.
          values = values.filter((value) => value !== sums);
          sums = reshape(accumulate(total.tensor, reshape(values[a % values.length], flatShape), { keep: 1 }), shape);
          values.push(sums);
          break;
        case 9:
          values.push(sums ? square(x) : multiply(x, reshape(total.tensor, shape)));
          break;
        case 11: {
          const doubled = twice(x);
          values.push(together(x, doubled), b % 2 ? doubled : together(y, doubled));
          break;
        }
        case 10:
          outputs[`${network} ${Object.keys(outputs).length}`] = square(x);
      }
    }
    const head = linear(silu(linear(values[0], own[0])), own[2]);
    const loss = [...values.filter((_, i) => i % 2 === 1), values.at(-1)!].reduce(
      (sum, value) => add(sum, value),
      head,
    );
    outputs[`loss ${network}`] = loss;
    packs.slice(0, 2).forEach((packed, i) => outputs[`pack ${i} of ${network}`] = packed);
    const found = gradients(head, [own[0], own[2]], { seed: loss });
    const packed = pack(found.map((each) => reshape(each!, [cells])), [0, cells], 3 * cells);
    const changed = accumulate(flat.tensor, scale(packed, { factor: -0.01 }), { keep: 1 });
    if (layers) outputs[`flat ${network} afterwards`] = square(changed);
    else effects.push(changed);
  }
  return { outputs, effects, variables };
}

/** Small numbers for inputs and variables. */
function draw({ outputs, effects, variables }: Graph) {
  const { inputs } = plan({ outputs, effects, fused: false });
  const feeds: Named = {}, memory: Memory = new Map();
  for (const [i, [name, { type: { shape } }]] of [...inputs].entries()) {
    feeds[name] = Float64Array.from(numbers(shape[0] * shape[1], i));
  }
  for (const [i, variable] of variables.entries()) {
    memory.set(variable, Float64Array.from(numbers(variable.shape.reduce((a, b) => a * b), 50 + i, [-0.5, 0.5])));
  }
  return { feeds, memory };
}

const copyOf = (memory: Memory): Memory => new Map([...memory].map(([variable, values]) => [variable, values.slice()]));

/**
 * Throws unless the plan of a graph computes what this does, on each target, in no more dispatches than nodes and copies.
 *
 * @returns On how many targets anything ran together.
 */
function checkPlan(graph: Graph, togetherBytes?: number): number {
  let together = 0;
  const { outputs, effects } = graph, { feeds, memory } = draw(graph);
  const expected = copyOf(memory), wanted = runGraph(outputs, effects, feeds, expected);
  const traced = plan({ outputs, effects, fused: false }), program = plan({ outputs, effects, togetherBytes });
  const largest = Math.max(...program.slots), alone = Math.max(...traced.slots);
  ok(largest <= Math.max(alone, togetherBytes ?? 2 ** 28), `a slot of ${largest} bytes, at most ${togetherBytes}`);
  for (const [name, target] of Object.entries(targets)) {
    const found = copyOf(memory), results = runProgram(program, target, feeds, found);
    for (const key of Object.keys(wanted)) {
      const off = difference(results[key], wanted[key]);
      ok(off <= 1e-12, `${name}: ${key} is off by ${off}`);
    }
    for (const [variable, values] of expected) {
      const off = difference(found.get(variable)!, values);
      ok(off <= 1e-12, `${name}: ${variable.name} is off by ${off}`);
    }
    const count = countDispatches(program, target), most = countDispatches(traced, target);
    // Two variables that are copied side by side are read by eight dispatches or more, which become half as many.
    ok(count <= most, `${name}: ${count} dispatches, ${most} without`);
    if (count < most) together++;
  }
  return together;
}

Deno.test("a plan computes what its graph does, whatever the graph, in no more dispatches than nodes and copies", () => {
  let together = 0;
  fc.assert(
    fc.property(cases, (each) => {
      together += checkPlan(trace(each), each.togetherBytes);
    }),
    { numRuns: 150, seed: 6 },
  );
  ok(together > 150, `only in ${together} of 300 programs anything ran together`);
});

/** Two packs that would lie in one buffer, since their squares run side by side. `second` makes another part of the second one. */
function twoPacks(
  second: (first: Tensor, x: Tensor) => Tensor,
  outputs: (first: Tensor) => Record<string, Tensor>,
): Graph {
  const [x, y] = [input("x", [side, side]), input("y", [side, side])];
  const first = pack([reshape(square(x), [cells])], [0], cells);
  const both = pack([reshape(square(y), [cells]), reshape(second(first, y), [cells])], [0, cells], 2 * cells);
  return { outputs: { ...outputs(first), both }, effects: [], variables: [] };
}

Deno.test("what reads one pack and writes into another keeps the two apart", () => {
  checkPlan(twoPacks((first) => silu(first), (first) => ({ first })));
});

Deno.test("what reads a pack does not share a dispatch with what writes into one beside it", () => {
  // Both scale, two nodes deep.
  checkPlan(twoPacks((_, y) => scale(silu(y), { factor: 3 }), (first) => ({ half: scale(first, { factor: 0.5 }) })));
});

Deno.test("on the adapter a plan computes what its graph does", async () => {
  using device = await Device.open();
  for (const each of fc.sample(cases, { numRuns: 3, seed: 7 })) {
    const graph = trace(each), { outputs, effects, variables } = graph, { feeds, memory } = draw(graph);
    for (const [variable, values] of memory) device.upload(variable, values);
    const wanted = runGraph(outputs, effects, feeds, memory);
    const compiled = await device.compile(plan({ outputs, effects }));
    compiled.run(feeds as unknown as Record<string, ArrayLike<number>>);
    const results = await compiled.read(...Object.keys(outputs));
    for (const key of Object.keys(wanted)) ok(difference(results[key], wanted[key]) <= 1e-5, key);
    for (const [variable, values] of memory) {
      ok(difference(await device.download(variable), values) <= 1e-5, variable.name);
    }
    device.release(compiled);
    device.free(variables);
  }
});
