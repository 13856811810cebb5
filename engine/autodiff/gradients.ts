import { storingActivations } from "../graph/activations.ts";
import { byName, inputNames, nextNodeId } from "../graph/op.ts";
import { atScope } from "../graph/scope.ts";
import { type Node, reshape, Tensor } from "../graph/tensor.ts";
import { elementCount, sameShape } from "../graph/types.ts";
import { add } from "../ops/add.ts";
import { fill } from "../ops/fill.ts";
import { sumTo } from "../ops/reduce_sum.ts";
import { Recomputation } from "./recomputation.ts";

/** How gradients are found. */
export interface GradientOptions {
  /** Gradient of something else by `y`, of `y`'s shape, to start from; ones when left out. */
  readonly seed?: Tensor;
  /**
   * Computes the values of `checkpointed` parts again for the gradients inside of them, instead of keeping them from the forward pass: less
   * memory for about a third more time, and the same bits.
   */
  readonly checkpointing?: boolean;
}

/**
 * Reverse-mode differentiation: adds to the graph what computes the gradient of `y` by each tensor of `by`.
 *
 * Only what lies between `y` and `by` is built: frozen weights and frozen networks cost nothing.
 *
 * @param y The value to differentiate; summed over its elements when it is not a scalar.
 * @param by Tensors of the graph: variables, windows in variables, inputs or intermediate values. Compared by identity.
 * @returns One gradient for each of `by`, of its shape; null where `y` does not depend on it.
 * @throws {TypeError} If an op on the way has no gradient.
 */
export function gradients(y: Tensor, by: readonly Tensor[], options: GradientOptions = {}): (Tensor | null)[] {
  const targets = new Set(by);
  const nodes = nodesBefore(y);
  const depends = dependents(nodes, targets);
  const dependsOn = (tensor: Tensor | null): boolean => tensor !== null && tensorDepends(tensor, targets, depends);

  const found = new Map<Tensor, Tensor>();
  const accumulate = (tensor: Tensor, gradient: Tensor, freshFrom: number) => {
    const before = found.get(tensor);
    found.set(tensor, before ? sumOf(before, gradient, freshFrom) : gradient);
    const { source } = tensor;
    if (source.kind === "view" && dependsOn(source.of)) {
      if (elementCount(source.of.shape) !== elementCount(tensor.shape)) {
        throw new TypeError(`Cannot differentiate by a tensor through a window of it: ask for the window's gradient`);
      }
      accumulate(source.of, reshape(gradient, source.of.shape), freshFrom);
    }
    if (source.kind === "pack") throw new TypeError("Cannot differentiate through a pack");
  };
  accumulate(y, options.seed ?? fill({ shape: y.shape, value: 1 }), Infinity);

  const outputsOf = new Map<Node, (Tensor | undefined)[]>();
  for (const tensor of allTensors(nodes, y)) {
    if (tensor.source.kind !== "node") continue;
    const { node, output } = tensor.source;
    const outputs = outputsOf.get(node) ?? [];
    outputs[output] = tensor;
    outputsOf.set(node, outputs);
  }

  const again = options.checkpointing ? new Recomputation() : null;
  for (const node of nodes.toReversed()) {
    const outputs = node.outputs.map((type, output) =>
      outputsOf.get(node)?.[output] ?? new Tensor(type, { kind: "node", node, output })
    );
    const dys = outputs.map((output) => found.get(output) ?? null);
    if (!depends.has(node) || dys.every((dy) => dy === null)) continue;
    const where = `Cannot differentiate ${node.op.name}${node.scope ? ` in ${node.scope}` : ""}`;
    if (!node.op.gradient) throw new TypeError(`${where}: it has no gradient`);
    inPlaceOf(node, () => {
      const names = inputNames(node.op);
      const wants = byName(names, node.inputs.map(dependsOn));
      const part = node.checkpoint;
      const read = (tensor: Tensor) => again && part ? again.of(tensor, part) : tensor;
      const values = node.inputs.map((tensor) => tensor && read(tensor)), results = outputs.map(read);
      const freshFrom = nextNodeId();
      const rule = node.op.gradient!(
        (node.outputs.length === 1 ? dys[0] : dys) as Tensor,
        byName(names, values) as Record<string, Tensor>,
        { output: results[0], outputs: results, attributes: node.attributes, wants },
      ) as Record<string, Tensor | null | undefined>;
      for (const [place, name] of names.entries()) {
        const tensor = node.inputs[place];
        if (!wants[name] || tensor === null) continue;
        const gradient = rule[name];
        if (!gradient) {
          if (name in rule) continue;
          throw new TypeError(`${where}: it has no gradient by ${name}`);
        }
        accumulate(
          tensor,
          sameShape(gradient.shape, tensor.shape) ? gradient : sumTo(gradient, tensor.shape),
          freshFrom,
        );
      }
    });
  }
  return by.map((tensor) => found.get(tensor) ?? null);
}

/** Runs a node's rule: what it adds belongs to the node's scope, and is f32 whatever activations are stored in. */
function inPlaceOf({ scope }: Node, body: () => void): void {
  storingActivations("f32", () => atScope(scope, body));
}

/** For each tensor of `by`, whether `y` depends on it: what `gradients` would give is null where it does not. */
export function dependsOn(y: Tensor, by: readonly Tensor[]): boolean[] {
  const reached = new Set<Tensor>(allTensors(nodesBefore(y), y));
  return by.map((tensor) => reached.has(tensor));
}

/**
 * `before + gradient`, inside the dispatch that computes the gradient where its op can do that.
 *
 * Only a node with an id from `freshFrom` on, made by the rule at work, is used for this alone; an older one would be computed twice.
 */
function sumOf(before: Tensor, gradient: Tensor, freshFrom: number): Tensor {
  let origin = gradient;
  while (origin.source.kind === "view" && elementCount(origin.source.of.shape) === elementCount(origin.shape)) {
    origin = origin.source.of;
  }
  if (origin.source.kind === "node" && origin.source.node.id >= freshFrom) {
    const { op, inputs, attributes } = origin.source.node;
    const named = byName(inputNames(op), inputs) as never;
    const sum: Tensor | null = op.withAddend?.(named, attributes, reshape(before, origin.shape)) ?? null;
    if (sum) return reshape(sum, gradient.shape);
  }
  return add(before, gradient);
}

/** All nodes that `y` needs, in the order they were traced. */
function nodesBefore(y: Tensor): Node[] {
  const nodes = new Set<Node>();
  const open = [y];
  while (open.length) {
    const { source } = open.pop()!;
    if (source.kind === "view") open.push(source.of);
    else if (source.kind === "pack") open.push(...source.parts.map((part) => part.tensor));
    else if (source.kind === "node" && !nodes.has(source.node)) {
      nodes.add(source.node);
      for (const tensor of source.node.inputs) if (tensor) open.push(tensor);
    }
  }
  return [...nodes].sort((a, b) => a.id - b.id);
}

function* allTensors(nodes: readonly Node[], y: Tensor): Generator<Tensor> {
  const through = function* (tensor: Tensor): Generator<Tensor> {
    yield tensor;
    if (tensor.source.kind === "view") yield* through(tensor.source.of);
  };
  yield* through(y);
  for (const node of nodes) for (const tensor of node.inputs) if (tensor) yield* through(tensor);
}

function tensorDepends(tensor: Tensor, targets: ReadonlySet<Tensor>, depends: ReadonlySet<Node>): boolean {
  if (targets.has(tensor)) return true;
  const { source } = tensor;
  if (source.kind === "node") return depends.has(source.node);
  if (source.kind === "view") return tensorDepends(source.of, targets, depends);
  if (source.kind === "pack") return source.parts.some((part) => tensorDepends(part.tensor, targets, depends));
  return false;
}

/** The nodes whose outputs depend on one of the targets. */
function dependents(nodes: readonly Node[], targets: ReadonlySet<Tensor>): Set<Node> {
  const depends = new Set<Node>();
  for (const node of nodes) {
    if (node.inputs.some((tensor) => tensor && tensorDepends(tensor, targets, depends))) depends.add(node);
  }
  return depends;
}
