import type { KernelTarget } from "../../graph/kernel.ts";
import type { DType } from "../../graph/types.ts";
import { range } from "./register_tile.ts";
import { buffers, Stored } from "./storage.ts";
import { vectorType, vectorWidth } from "./wgsl.ts";

/**
 * A kernel of attention in parts that a backend puts together: own rows meet streamed rows, products of their channels give weights,
 * and streamed rows are gathered by these weights. The output gathers values over keys; the gradients gather likewise.
 *
 * In the parts, `<name><r>` belongs to own row r of a tile, `<name><r>_<c>` to its meeting with streamed row c.
 */
export interface AttentionParts {
  readonly batch: number;
  readonly heads: number;
  /** Channels of a head. */
  readonly size: number;
  readonly ownRows: number;
  readonly streamedRows: number;
  /** Factor on the scores. */
  readonly scale: number;
  /** Formats of all tensors, in the order of the bindings, outputs last: `[batch, rows, heads · size]`, but the statistics, `[batch, heads, rows]`. */
  readonly tensors: Readonly<Record<string, DType>>;
  readonly outputs: readonly string[];
  readonly statistics: readonly string[];
  /** Pairs of an own and a streamed tensor whose rows are multiplied: first the scores, `score<r>_<c>`, then `product<r>_<c>`. */
  readonly products: readonly (readonly [own: string, streamed: string])[];
  /** Outputs that gather a streamed tensor's rows, by the weights `<weight><r>_<c>`. */
  readonly gathers: readonly { readonly output: string; readonly weight: string; readonly tensor: string }[];
  /** Statistics that are read for own rows, as `<name><r>`, and for streamed rows, as `<name><c>`. */
  readonly ownStatistics?: readonly string[];
  readonly streamedStatistics?: readonly string[];
  /** A statistic of own rows that is stored, and its value for row r. */
  readonly result?: { readonly name: string; readonly value: (r: number) => string };
  /** First streamed row, and the one after the last, for `count` own rows from the WGSL value `firstRow`; all when left out. */
  readonly begin?: (block: number) => string;
  readonly end?: (count: number) => string;
  /** Condition under which an own row and a streamed row meet. */
  readonly meets?: (own: string, streamed: string) => string;
  /** WGSL before the stream. */
  readonly before?: (tile: AttentionTile) => readonly string[];
  /** Factor `<keep><r>` on what an own row has gathered so far, set by `weigh`; none when left out. */
  readonly keep?: string;
  /** WGSL that makes the weights. */
  readonly weigh: (tile: AttentionTile) => readonly string[];
  /** WGSL after the stream, and a factor on the gathered rows, `<factor><r>`. */
  readonly after?: (tile: AttentionTile) => readonly string[];
  readonly factor?: string;
}

/** What an invocation holds of a tile. */
export interface AttentionTile {
  /** Own rows, streamed rows of a block, and parts of an own row: an output's accumulators are `<output><r>_<part>`. */
  readonly rows: number;
  readonly columns: number;
  readonly parts: number;
  /** Maximum and sum over the invocations that share an own row's meetings. */
  readonly max: (value: string) => string;
  readonly sum: (value: string) => string;
}

/** WGSL that applies `keep` to all that was gathered. */
export function keepGathered({ keep, gathers }: AttentionParts, { rows, parts }: AttentionTile): string[] {
  if (!keep) return [];
  return gathers.flatMap(({ output }) =>
    range(rows).flatMap((r) => range(parts).map((part) => `${output}${r}_${part} *= ${keep}${r};`))
  );
}

/** What a masked score is: far below any score, and finite, so that no difference is NaN. */
export const maskedScore = "-1e30";

/** Widest vector that divides a head: elements per vector, and its WGSL type. */
export function headVectors(size: number): { unit: 1 | 2 | 4; type: string } {
  const unit = vectorWidth(size);
  return { unit, type: vectorType("f32", unit) };
}

/** The tensors as they are bound, by name and in their order: `width` elements at a time, outputs and statistics as said. */
export function boundTensors(
  parts: AttentionParts,
  target: Pick<KernelTarget, "f16">,
  widths: { readonly input: 1 | 2 | 4; readonly output: (name: string) => 1 | 2 | 4 },
): {
  readonly of: (name: string) => Stored;
  readonly inputs: readonly Stored[];
  readonly outputs: readonly Stored[];
  readonly declarations: string;
} {
  const stored = new Map(
    Object.entries(parts.tensors).map(([name, dtype]) => {
      const width = parts.statistics.includes(name)
        ? 1
        : parts.outputs.includes(name)
        ? widths.output(name)
        : widths.input;
      return [name, new Stored(name, { dtype }, width, target)];
    }),
  );
  const of = (name: string) => stored.get(name)!;
  const [inputs, outputs] = [false, true].map((isOutput) =>
    [...stored.values()].filter(({ name }) => parts.outputs.includes(name) === isOutput)
  );
  return { of, inputs, outputs, declarations: buffers(inputs, outputs) };
}
