import { type Node, type Tensor, type Variable, variablePart } from "../graph/tensor.ts";

interface Overwrite {
  readonly node: Node;
  readonly beginBytes: number;
  readonly endBytes: number;
}

/** Which parts of variables a graph's nodes overwrite, and when. */
export class Overwrites {
  private readonly of = new Map<Variable, Overwrite[]>();

  /** @param nodes In the order of tracing. */
  constructor(private readonly nodes: readonly Node[]) {
    for (const node of nodes) {
      for (const tensor of node.inputs.slice(0, node.op.overwrites ?? 0)) {
        const { variable, beginBytes, endBytes } = variablePart(tensor!)!;
        const known = this.of.get(variable) ?? [];
        known.push({ node, beginBytes, endBytes });
        this.of.set(variable, known);
      }
    }
  }

  /** The first node, of those with ids between two, that overwrites some of the bytes that a tensor shows; null where none does. */
  between(tensor: Tensor, after: number, before: number): Node | null {
    const part = variablePart(tensor);
    if (!part) return null;
    const found = (this.of.get(part.variable) ?? []).find(({ node, beginBytes, endBytes }) =>
      node.id > after && node.id < before && beginBytes < part.endBytes && endBytes > part.beginBytes
    );
    return found?.node ?? null;
  }

  /**
   * Throws where a node reads a variable, or what an op has left in one, after a later op has overwritten that: no buffer holds it any more. Outputs are read
   * after all nodes. Parts of packs are not: they are copied at a run's beginning, or right behind the op.
   */
  check(outputs: Readonly<Record<string, Tensor>>): void {
    for (const node of this.nodes) {
      for (const tensor of node.inputs.slice(node.op.overwrites ?? 0)) {
        const found = tensor && this.lost(tensor, node.id);
        if (!found) continue;
        throw new TypeError(
          `Cannot plan: ${nodeText(node)} reads ${found.what}, but ${nodeText(found.by)} overwrites it before. ` +
            `Trace ${node.op.name} before ${found.by.op.name}, or let it read what ${found.by.op.name} gives`,
        );
      }
    }
    for (const [name, tensor] of Object.entries(outputs)) {
      const found = this.lost(tensor, Infinity);
      if (!found) continue;
      throw new TypeError(
        `Cannot plan: output ${name} is ${found.what}, but ${
          nodeText(found.by)
        } overwrites it before it can be read. ` +
          `Put out what ${found.by.op.name} gives, or a copy traced before it, such as scale(…, { factor: 1 })`,
      );
    }
  }

  /** What a reader finds no more, and what has overwritten it. */
  private lost(tensor: Tensor, reader: number): { what: string; by: Node } | null {
    const part = variablePart(tensor), by = this.between(tensor, part?.leftBy?.id ?? -1, reader);
    if (!part || !by) return null;
    const state = part.leftBy ? `as ${nodeText(part.leftBy)} left it` : "as it is when a run begins";
    return { what: `variable ${part.variable.name} ${state}`, by };
  }
}

function nodeText({ op, scope }: Node): string {
  return scope ? `${op.name} in ${scope}` : op.name;
}
