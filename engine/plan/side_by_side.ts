import { type Node, originOf, type Tensor, type Variable, variablePart } from "../graph/tensor.ts";
import { elementCount, typeText } from "../graph/types.ts";

/** Results of more elements fill a GPU by themselves, and holding several of them at once takes memory: such nodes run alone. */
const mostElements = 2 ** 18;

/**
 * Nodes in an order of execution, those together that may run at the same time: nodes of one op, none of which needs another.
 *
 * Two networks that do the same, the projections of one attention, gradients by both matrices of a module: most of a small model's nodes are too small to
 * keep a device busy alone. Nodes are together when the longest ways to them, counted in nodes, are equally long, so the same layers of two networks
 * meet. Otherwise the order is that of tracing, as far as that can be.
 *
 * A graph that computes values again so as to hold fewer stays in its order: what runs together is held together.
 *
 * @returns For each time its nodes, in sets of those that are alike: their attributes and types are the same, and so is their kernel.
 */
export function sideBySide(nodes: readonly Node[]): Node[][][] {
  if (nodes.some(({ isRepeated }) => isRepeated)) return nodes.map((node) => [[node]]);
  const before = prerequisites(nodes), depths = new Map<Node, number>();
  const groups = new Map<string, Node[]>(), groupOf = new Map<Node, Node[]>();
  for (const node of nodes) {
    const depth = Math.max(-1, ...before.get(node)!.map((each) => depths.get(each)!)) + 1;
    depths.set(node, depth);
    const isSmall = node.outputs.every(({ shape }) => elementCount(shape) <= mostElements);
    const key = isSmall && !node.op.overwrites && !node.op.runsAlone ? `${depth} ${node.op.name}` : `${node.id}`;
    const group = groups.get(key) ?? [];
    group.push(node);
    groups.set(key, group);
    groupOf.set(node, group);
  }
  // Groups at one depth do not need one another, so each can follow all that it needs.
  const order = new Set<Node[]>();
  const place = (group: Node[]) => {
    // A loop: ways through a graph are longer than a thread's stack is deep.
    const open = [group];
    while (open.length > 0) {
      const top = open.at(-1)!;
      const needed = new Set(top.flatMap((node) => before.get(node)!.map((each) => groupOf.get(each)!)));
      const missing = order.has(top) ? [] : [...needed].filter((each) => !order.has(each));
      if (missing.length > 0) open.push(...missing.reverse());
      else order.add(open.pop()!);
    }
  };
  for (const node of nodes) place(groupOf.get(node)!);
  return [...order].map((group) => [...Map.groupBy(group, kindOf).values()]);
}

/** Equal for nodes of one op that run the same kernel. */
function kindOf({ attributes, inputs, outputs }: Node): string {
  const types = [...inputs, ...outputs].map((type) => type && typeText(type));
  return `${JSON.stringify(attributes)} ${types.join()}`;
}

/**
 * What must have run before each node: what makes its inputs and, where it overwrites a variable, all that reads this.
 *
 * @param nodes In the order of tracing.
 */
function prerequisites(nodes: readonly Node[]): Map<Node, Node[]> {
  const users = new Map<Variable, Node[]>();
  const found = new Map<Node, Node[]>();
  for (const node of nodes) {
    const needed = new Set(node.inputs.flatMap((tensor) => tensor ? makersOf(tensor) : []));
    for (const [place, tensor] of node.inputs.entries()) {
      const variable = tensor && variablePart(tensor)?.variable;
      if (!variable) continue;
      const earlier = users.get(variable) ?? [];
      if (place < (node.op.overwrites ?? 0)) earlier.forEach((each) => each === node || needed.add(each));
      earlier.push(node);
      users.set(variable, earlier);
    }
    found.set(node, [...needed]);
  }
  return found;
}

/** The nodes that a tensor's values come from directly. */
function makersOf(tensor: Tensor): Node[] {
  const { source } = originOf(tensor);
  if (source.kind === "node") return [source.node];
  return source.kind === "pack" ? source.parts.flatMap((part) => makersOf(part.tensor)) : [];
}
