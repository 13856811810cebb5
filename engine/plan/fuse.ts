import { type Application, inputNames } from "../graph/op.ts";
import { type Node, originOf, type PackPart, Tensor } from "../graph/tensor.ts";
import { elementCount } from "../graph/types.ts";
import { collect } from "./collect.ts";
import { Overwrites } from "./overwrites.ts";

/**
 * The same graph with fewer dispatches: where an op can do its input's work as well (`absorb`), and nobody else wants that input, both become one.
 *
 * Nodes keep their place in the order. What did not change stays the very same tensor.
 *
 * @param roots What the graph is wanted for; none of them is absorbed.
 * @returns The roots of the new graph, in the same order.
 */
export function fuse(roots: readonly Tensor[]): Tensor[] {
  const { nodes, uses } = collect(roots), overwrites = new Overwrites(nodes);
  const tensors = new Map<Tensor, Tensor>(), newNodes = new Map<Node, Node>();
  const renewed = (tensor: Tensor): Tensor => {
    const known = tensors.get(tensor);
    if (known) return known;
    const { source } = tensor;
    let result = tensor;
    if (source.kind === "node") {
      const node = newNodes.get(source.node)!;
      if (node !== source.node) result = new Tensor(tensor, { ...source, node });
    } else if (source.kind === "view") {
      const of = renewed(source.of);
      if (of !== source.of) result = new Tensor(tensor, { ...source, of });
    } else if (source.kind === "pack") {
      const parts = source.parts.map((part): PackPart => ({ ...part, tensor: renewed(part.tensor) }));
      if (parts.some(({ tensor }, i) => tensor !== source.parts[i].tensor)) {
        result = new Tensor(tensor, { ...source, parts });
      }
    }
    tensors.set(tensor, result);
    return result;
  };
  // Inputs come before what uses them, so theirs are renewed already.
  for (const node of nodes) {
    const inputs = node.inputs.map((tensor) => tensor && renewed(tensor));
    let application: Application = { op: node.op, inputs, attributes: node.attributes };
    let hasChanged = inputs.some((tensor, i) => tensor !== node.inputs[i]);
    for (const [place, name] of node.op.absorb ? inputNames(node.op).entries() : []) {
      const wanted = node.inputs[place], producer = wanted && onlyFor(wanted, uses);
      if (!producer) continue;
      // What the producer reads is read in this node's place then.
      const isChanged = (tensor: Tensor | null) => tensor && overwrites.between(tensor, producer.id, node.id);
      if (newNodes.get(producer)!.inputs.some(isChanged)) continue;
      const joined = node.op.absorb!(name, newNodes.get(producer)!, application);
      if (!joined) continue;
      application = joined;
      hasChanged = true;
      break;
    }
    newNodes.set(node, hasChanged ? { ...node, ...application } : node);
  }
  return roots.map(renewed);
}

/** The node that makes a tensor, if it makes nothing else and nobody else wants it. */
function onlyFor(tensor: Tensor, uses: ReadonlyMap<Tensor, number>): Node | null {
  const origin = originOf(tensor), { source } = origin;
  if (source.kind !== "node" || source.node.outputs.length !== 1 || source.node.op.overwrites) return null;
  if (uses.get(origin) !== 1) return null;
  // A window shows a part only.
  return elementCount(origin.shape) === elementCount(tensor.shape) ? source.node : null;
}
