import { bindingAlignmentBytes, type Node, originOf, type Tensor, type Variable } from "../graph/tensor.ts";
import { byteLength, type TensorType } from "../graph/types.ts";

/** What has to lie in one buffer, so that one dispatch can bind it for several nodes. */
export interface Bundles {
  readonly inputs: readonly (readonly Tensor[])[];
  readonly packs: readonly (readonly Tensor[])[];
  /** Variables have buffers of their own: these are copied side by side at the beginning of each run. */
  readonly variables: readonly (readonly Variable[])[];
}

/** Variables are copied for so many groups of nodes, or not at all. */
const fewestReaders = 8;
/** Larger ones would take memory that counts, and time. */
const mostCopiedBytes = 2 ** 24;

/**
 * Finds what groups of nodes that run side by side read at the same place, or write to: inputs of two networks, packs of their gradients, their weights.
 *
 * What nodes of one group make is bundled anyway.
 *
 * @param packOf The pack in which a node's result is computed in place.
 * @param mostBytes What lies together may take.
 */
export function findBundles(
  groups: readonly (readonly Node[])[],
  packOf: ReadonlyMap<Node, Tensor>,
  mostBytes: number,
): Bundles {
  const fits = (all: Iterable<Tensor>) => bytesTogether([...all]) <= mostBytes;
  const inputs = new Union<Tensor>(), packs = new Union<Tensor>();
  const readers = new Map<Variable, Map<Variable, number>>();
  for (const group of groups) {
    if (group.length === 1) continue;
    for (const place of group[0].inputs.keys()) {
      const origins = [...new Set(group.flatMap(({ inputs }) => inputs[place] ? [originOf(inputs[place])] : []))];
      if (origins.every(({ source }) => source.kind === "input")) inputs.join(origins, fits);
      if (origins.length !== 2 || bytesTogether(origins) > Math.min(mostCopiedBytes, mostBytes)) continue;
      const [one, two] = origins.map(({ source }) => source.kind === "variable" ? source.variable : null);
      if (!one || !two) continue;
      const others = readers.get(one) ?? new Map<Variable, number>();
      readers.set(one, others.set(two, (others.get(two) ?? 0) + 1));
    }
    const written = group.flatMap((node) => packOf.get(node) ?? []);
    if (written.length === group.length) {
      packs.join(written, (all) => fits(all) && !writesBesideReading(groups, all, packOf));
    }
  }
  const variables: Variable[][] = [];
  for (const [one, others] of readers) {
    for (const [two, count] of others) {
      if (count >= fewestReaders && !variables.flat().some((each) => each === one || each === two)) {
        variables.push([one, two]);
      }
    }
  }
  return { inputs: inputs.sets, packs: packs.sets, variables };
}

/** Bytes of tensors that lie one after another in one buffer, each where it can be bound. */
export function bytesTogether(types: readonly TensorType[]): number {
  return types.reduce((end, type) => aligned(end) + byteLength(type), 0);
}

/** The next place from which a buffer can be bound. */
export function aligned(bytes: number): number {
  return Math.ceil(bytes / bindingAlignmentBytes) * bindingAlignmentBytes;
}

/** Whether a node reads one of the packs and writes to one: no dispatch could bind the buffer that they are in. */
function writesBesideReading(
  groups: readonly (readonly Node[])[],
  packs: ReadonlySet<Tensor>,
  packOf: ReadonlyMap<Node, Tensor>,
): boolean {
  return groups.some((group) =>
    group.some((node) =>
      packs.has(packOf.get(node)!) && node.inputs.some((tensor) => tensor !== null && packs.has(originOf(tensor)))
    )
  );
}

/** Sets that grow together where something joins them. */
class Union<T> {
  private readonly setOf = new Map<T, Set<T>>();

  join(items: readonly T[], mayBe: (whole: ReadonlySet<T>) => boolean): void {
    const whole = new Set(items.flatMap((item) => [...this.setOf.get(item) ?? [item]]));
    if (whole.size === (this.setOf.get(items[0])?.size ?? 1) || !mayBe(whole)) return;
    for (const item of whole) this.setOf.set(item, whole);
  }

  /** Those of more than one. */
  get sets(): T[][] {
    return [...new Set(this.setOf.values())].filter((set) => set.size > 1).map((set) => [...set]);
  }
}
