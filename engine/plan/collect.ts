import { type Node, originOf, type Tensor } from "../graph/tensor.ts";

/**
 * What a graph needs, seen from what it is wanted for: nodes in the order of tracing, packs, inputs, and how often each tensor is used, views of it
 * counted as itself.
 */
export function collect(roots: readonly Tensor[]) {
  const nodes = new Set<Node>(),
    packs = new Set<Tensor>(),
    inputs = new Set<Tensor>(),
    uses = new Map<Tensor, number>();
  const seen = new Set<Tensor>(), open: Tensor[] = [];
  const use = (tensor: Tensor) => {
    const origin = originOf(tensor);
    uses.set(origin, (uses.get(origin) ?? 0) + 1);
    open.push(tensor);
  };
  roots.forEach(use);
  while (open.length) {
    const tensor = open.pop()!;
    if (seen.has(tensor)) continue;
    seen.add(tensor);
    const { source } = tensor;
    if (source.kind === "view") open.push(source.of);
    else if (source.kind === "input") inputs.add(tensor);
    else if (source.kind === "pack") {
      packs.add(tensor);
      source.parts.forEach((part) => use(part.tensor));
    } else if (source.kind === "node" && !nodes.has(source.node)) {
      nodes.add(source.node);
      for (const each of source.node.inputs) if (each) use(each);
    }
  }
  return {
    nodes: [...nodes].sort((a, b) => a.id - b.id),
    packs: [...packs],
    inputs: [...inputs],
    uses,
  };
}
