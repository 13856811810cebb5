/**
 * Graphs and programs run by plain arithmetic in f64: a few ops, and what a plan makes of them.
 *
 * @module
 */
import type { Node, Program, Tensor, Variable } from "../../engine/mod.ts";
import { dispatchesOf, elementCount, type KernelTarget } from "../../engine/mod.ts";
import type { DispatchBinding } from "../../engine/gpu/dispatches.ts";
import type { Binding, Location } from "../../engine/plan/plan.ts";

type Numbers = Float64Array;
/** What variables hold. */
export type Memory = Map<Variable, Numbers>;
/** Numbers of inputs, or of outputs, by name. */
export type Named = Record<string, Numbers>;

/** Runs the nodes that roots need in the order of tracing, one after another; changes variables as they do. */
export function runGraph(
  outputs: Readonly<Record<string, Tensor>>,
  effects: readonly Tensor[],
  feeds: Named,
  memory: Memory,
): Named {
  const nodes = new Set<Node>(), made = new Map<Node, Numbers>();
  const collect = ({ source }: Tensor): void => {
    if (source.kind === "view") collect(source.of);
    else if (source.kind === "pack") source.parts.forEach(({ tensor }) => collect(tensor));
    else if (source.kind === "node" && !nodes.has(source.node)) {
      nodes.add(source.node);
      source.node.inputs.forEach((tensor) => tensor && collect(tensor));
    }
  };
  [...Object.values(outputs), ...effects].forEach(collect);
  const valueOf = (tensor: Tensor): Numbers => {
    const { source } = tensor;
    if (source.kind === "input") return feeds[source.name];
    if (source.kind === "variable") return memory.get(source.variable)!;
    if (source.kind === "node") return made.get(source.node)!;
    if (source.kind === "view") {
      return valueOf(source.of).subarray(source.offsetElements, source.offsetElements + elementCount(tensor.shape));
    }
    const whole = new Float64Array(elementCount(tensor.shape));
    for (const { tensor: part, offsetElements } of source.parts) whole.set(valueOf(part), offsetElements);
    return whole;
  };
  for (const node of [...nodes].sort((a, b) => a.id - b.id)) {
    const inputs = node.inputs.map((tensor) => tensor && valueOf(tensor));
    const result = compute(node, inputs);
    if (node.op.overwrites) inputs[0]!.set(result);
    made.set(node, result);
  }
  return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, valueOf(tensor).slice()]));
}

/**
 * Runs a program dispatch by dispatch in slots that are not a number at first. All steps of a dispatch read before any of them writes, but for what a step's
 * kernel makes as well.
 *
 * @throws {Error} If a dispatch could not be: it binds too much, not what its steps need, a buffer for reading and for writing, or steps of it write to one
 * place.
 */
export function runProgram(program: Program, target: KernelTarget, feeds: Named, memory: Memory): Named {
  const slots = program.slots.map((sizeBytes) => new Float64Array(sizeBytes / 4).fill(NaN));
  const at = ({ buffer, offsetBytes, sizeBytes }: Location): Numbers => {
    const whole = buffer.kind === "slot" ? slots[buffer.slot] : memory.get(buffer.variable)!;
    if (offsetBytes + sizeBytes > 4 * whole.length) throw new Error("a binding leaves its buffer");
    return whole.subarray(offsetBytes / 4, (offsetBytes + sizeBytes) / 4);
  };
  for (const [name, { location }] of program.inputs) at(location).set(feeds[name]);
  /** What the first dispatch of a kernel that has two bound: its steps run with the second. */
  let boundBefore: readonly DispatchBinding[] = [];
  for (const dispatch of dispatchesOf(program, target)) {
    if ("clears" in dispatch) {
      at(dispatch.clears).fill(0);
      continue;
    }
    checkDispatch(dispatch.bindings, target);
    const bound = [...boundBefore, ...dispatch.bindings];
    boundBefore = dispatch.isUnfinished ? bound : [];
    if (dispatch.isUnfinished) continue;
    checkBound(bound, dispatch.steps.flatMap((place) => program.steps[place].bindings));
    const results: { to: Numbers; result: Numbers }[] = [];
    for (const place of dispatch.steps) {
      const step = program.steps[place];
      if (step.kind === "clear") throw new Error("a clear is no dispatch");
      if (step.kind === "copy") {
        results.push({ to: at(step.bindings[1]), result: at(step.bindings[0]).slice() });
        continue;
      }
      let next = 0;
      const given = step.node.inputs.map((tensor) => tensor && at(step.bindings[next++]));
      const read = given.map((from) => results.find(({ to }) => from && meet(from, to))?.result ?? from);
      results.push({
        to: step.node.op.overwrites ? given[0]! : at(step.bindings[next]),
        result: compute(step.node, read),
      });
    }
    for (const [i, { to, result }] of results.entries()) {
      if (to.length !== result.length) throw new Error("a result has another size than its place");
      if (results.slice(0, i).some((other) => meet(other.to, to))) throw new Error("two steps write to one place");
      to.set(result);
    }
  }
  return Object.fromEntries([...program.outputs].map(([name, { location }]) => [name, at(location).slice()]));
}

function meet(a: Numbers, b: Numbers): boolean {
  return a.buffer === b.buffer && a.byteOffset < b.byteOffset + b.byteLength &&
    b.byteOffset < a.byteOffset + a.byteLength;
}

const bufferOf = ({ buffer }: DispatchBinding) =>
  buffer.kind === "slot" ? buffer.slot : buffer.kind === "variable" ? buffer.variable : buffer.kind;

function checkDispatch(bindings: readonly DispatchBinding[], { maxStorageBuffers }: KernelTarget): void {
  if (bindings.length > maxStorageBuffers) throw new Error(`${bindings.length} bindings`);
  const written = new Set(bindings.filter(({ access }) => access === "read_write").map(bufferOf));
  if (bindings.some((each) => each.access === "read" && written.has(bufferOf(each)))) {
    throw new Error("a buffer is bound for reading and for writing");
  }
}

/** @param ofSteps What the steps of a dispatch, or of both that a kernel has, bind, each by itself. */
function checkBound(bindings: readonly DispatchBinding[], ofSteps: readonly Binding[]): void {
  for (const own of ofSteps) {
    // What one step makes for another of the same dispatch is bound to be written.
    const { access } = ofSteps.findLast((each) =>
      bufferOf(each) === bufferOf(own) && each.offsetBytes === own.offsetBytes && each.access === "read_write"
    ) ?? own;
    const shows = (each: DispatchBinding) =>
      each.access === access && bufferOf(each) === bufferOf(own) && each.offsetBytes <= own.offsetBytes &&
      each.offsetBytes + each.sizeBytes >= own.offsetBytes + own.sizeBytes;
    if (!bindings.some(shows)) {
      throw new Error("a step's tensor is not bound");
    }
  }
}

/** An op by its definition. */
function compute(
  { op: { name }, inputs: types, outputs: [{ shape }], attributes }: Node,
  given: (Numbers | null)[],
): Numbers {
  const result = new Float64Array(elementCount(shape)), [x, y] = given as Numbers[];
  const each = (value: (i: number) => number) => result.map((_, i) => value(i));
  switch (name) {
    case "add":
      return each((i) => x[i] + y[i]);
    case "multiply":
      return each((i) => x[i] * y[i]);
    case "twice":
      return each((i) => 2 * x[i]);
    case "together":
      return each((i) => x[i] + 10 * y[i]);
    case "square":
      return each((i) => x[i] * x[i]);
    case "silu":
      return each((i) => x[i] / (1 + Math.exp(-x[i])));
    case "silu_gradient":
      // σ(x)·(1 + x·(1 − σ(x)))·dy
      return each((i) => y[i] * (1 + x[i] / (1 + Math.exp(x[i]))) / (1 + Math.exp(-x[i])));
    case "scale":
      return each((i) => x[i] * (attributes.factor as number));
    case "accumulate":
      return each((i) => (attributes.keep as number) * x[i] + y[i]);
    case "slice": {
      // Of the last axis of a matrix.
      const { start, length } = attributes as { start: number; length: number }, width = types[0]!.shape[1];
      return each((i) => x[Math.floor(i / length) * width + start + i % length]);
    }
    case "pad": {
      // Of the last axis of a matrix.
      const { before } = attributes as { before: number }, width = types[0]!.shape[1];
      return each((i) => {
        const column = i % shape[1] - before;
        return column >= 0 && column < width ? x[Math.floor(i / shape[1]) * width + column] : 0;
      });
    }
    case "matmul": {
      const [a, b, bias, addend] = given;
      return each((i) => product(shape, i, [a!, b!], types[0]!, attributes) + added(i, shape, bias, addend));
    }
    case "matmul_pair": {
      const [a, b, bias, addend, a2, b2] = given, second = { ...attributes, scale: attributes.scale2 as number };
      return each((i) =>
        product(shape, i, [a!, b!], types[0]!, attributes) + product(shape, i, [a2!, b2!], types[4]!, second) +
        added(i, shape, bias, addend)
      );
    }
    default:
      throw new Error(`${name} is not known`);
  }
}

/** One element of a matrix product. */
function product(
  [m, n]: readonly number[],
  i: number,
  [a, b]: readonly Numbers[],
  left: { readonly shape: readonly number[] },
  { transposeA, transposeB, scale = 1 }: { transposeA?: boolean; transposeB?: boolean; scale?: number },
): number {
  const row = Math.floor(i / n), column = i % n, k = left.shape[transposeA ? 0 : 1];
  let sum = 0;
  for (let t = 0; t < k; t++) {
    sum += a[transposeA ? t * m + row : row * k + t] * b[transposeB ? column * k + t : t * n + column];
  }
  return sum * scale;
}

function added(i: number, [, n]: readonly number[], bias: Numbers | null, addend: Numbers | null): number {
  return (bias?.[i % n] ?? 0) + (addend?.[i] ?? 0);
}
