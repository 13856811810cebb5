import type { Checkpoint } from "../graph/checkpoint.ts";
import { repeatNode } from "../graph/op.ts";
import { type Node, Tensor } from "../graph/tensor.ts";

/**
 * Checkpointed parts of the graph, traced a second time as gradients ask for their values.
 *
 * A repeated node has the same op and attributes, so it gives the same bits. It reads the part's inputs as they were, and whatever else it needs of the
 * part from other repeated nodes. Its id is new, so it runs where the gradient that wants it does: what the part computed the first time is dead
 * as soon as the forward pass has left the part.
 */
export class Recomputation {
  private readonly nodes = new Map<Node, Node>();
  private readonly tensors = new Map<Tensor, Tensor>();

  /** What a gradient of a node of `part` reads in a tensor's place: the tensor itself, or the same computed again when it is of that part. */
  of(tensor: Tensor, part: Checkpoint): Tensor {
    const { source } = tensor;
    if (source.kind === "view") {
      const base = this.of(source.of, part);
      return base === source.of ? tensor : this.once(tensor, { ...source, of: base });
    }
    if (source.kind !== "node" || source.node.checkpoint !== part) return tensor;
    return this.once(tensor, { ...source, node: this.repeated(source.node, part) });
  }

  /** A tensor is repeated as one tensor: the planner counts who uses it. */
  private once(tensor: Tensor, source: Tensor["source"]): Tensor {
    const known = this.tensors.get(tensor) ?? new Tensor(tensor, source);
    this.tensors.set(tensor, known);
    return known;
  }

  private repeated(node: Node, part: Checkpoint): Node {
    let found = this.nodes.get(node);
    if (!found) {
      found = repeatNode(node, node.inputs.map((tensor) => tensor && this.of(tensor, part)));
      this.nodes.set(node, found);
    }
    return found;
  }
}
