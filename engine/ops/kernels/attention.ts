import type { Kernel, KernelTarget } from "../../graph/kernel.ts";
import type { DType } from "../../graph/types.ts";
import { attentionByLanes } from "./attention_lanes.ts";
import { type AttentionParts, maskedScore } from "./attention_parts.ts";
import { attentionOnCpu } from "./attention_rows.ts";
import { attentionOnGpu } from "./attention_stream.ts";
import { acrossVector } from "./reduction.ts";
import { range } from "./register_tile.ts";
import { buffers, Stored } from "./storage.ts";
import { divide, float, grid, modulo, vectorType, vectorWidth } from "./wgsl.ts";

/** Sizes of an attention: q is `[batch, queries, heads · size]`, k and v are `[batch, keys, heads · size]`. */
export interface AttentionShape {
  readonly batch: number;
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  /** Channels of one head. */
  readonly size: number;
  /** A query sees only the keys up to its own place. */
  readonly causal?: boolean;
  /** Factor on the scores; 1/√size when left out. */
  readonly scale?: number;
}

/**
 * Kernel for `o = softmax(scale · q·kᵀ)·v` and the logarithm of each query's sum of exponentials, by an online softmax: one pass over keys
 * and values, no matrix of tokens by tokens.
 *
 * Bindings: q, k, v, o, lse `[batch, heads, queries]`.
 *
 * @see Dao et al. 2022, FlashAttention, https://arxiv.org/abs/2205.14135
 */
export function attentionForward(shape: AttentionShape & AttentionFormats, target: KernelTarget): Kernel {
  return backend({
    ...overKeys(shape),
    tensors: { ...formats(shape, "q", "k", "v", "o"), lse: "f32" },
    outputs: ["o", "lse"],
    products: [["q", "k"]],
    gathers: [{ output: "o", weight: "p", tensor: "v" }],
    before: ({ rows }) => range(rows).flatMap((r) => [`var most${r} = ${maskedScore};`, `var total${r} = 0.0;`]),
    keep: "keep",
    weigh: ({ rows, columns, max }) =>
      range(rows).flatMap((r) => {
        const most = range(columns).map((c) => `score${r}_${c}`).reduce((a, b) => `max(${a}, ${b})`);
        return [
          `let next${r} = max(most${r}, ${max(most)});`,
          `let keep${r} = exp(most${r} - next${r});`,
          ...range(columns).map((c) => `let p${r}_${c} = exp(score${r}_${c} - next${r});`),
          // The total of what this invocation sees; the others' are added at the end.
          `total${r} = total${r} * keep${r} + ${range(columns).map((c) => `p${r}_${c}`).join(" + ")};`,
          `most${r} = next${r};`,
        ];
      }),
    after: ({ rows, sum }) =>
      range(rows).flatMap((r) => [`let sum${r} = ${sum(`total${r}`)};`, `let inverse${r} = 1.0 / sum${r};`]),
    factor: "inverse",
    result: { name: "lse", value: (r) => `most${r} + log(sum${r})` },
  }, target);
}

/**
 * Kernel for what the gradients need of output and gradient: for each query and head the sum of `dy · o` over the channels.
 *
 * Bindings: dy, o, delta `[batch, heads, queries]`.
 */
export function attentionDelta(
  { batch, heads, queries, size, ...shape }:
    & Pick<AttentionShape, "batch" | "heads" | "queries" | "size">
    & AttentionFormats,
  target: KernelTarget,
): Kernel {
  const count = batch * heads * queries, lines = grid(count, target), width = vectorWidth(size), steps = size / width;
  const dtypes = formats(shape, "dy", "o");
  const dy = new Stored("dy", { dtype: dtypes.dy }, width, target),
    o = new Stored("o", { dtype: dtypes.o }, width, target);
  const delta = new Stored("delta", { dtype: "f32" }, 1, target);
  return {
    workgroups: lines.workgroups,
    wgsl: `${buffers([dy, o], [delta])}

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= ${count}u) { return; }
  let query = ${modulo("i", queries)};
  let head = ${modulo(divide("i", queries), heads)};
  let first = ((${divide("i", queries * heads)} * ${queries}u + query) * ${heads}u + head) * ${steps}u;
  var sum = ${vectorType("f32", width)}();
  // No constant bound: a CPU's compiler would unroll the loop and take many times longer.
  for (var e = 0u; e < select(${steps}u, 0u, at.z > 0u); e++) {
    sum = fma(${dy.load("first + e")}, ${o.load("first + e")}, sum);
  }
  ${delta.store("i", acrossVector("sum", width))}
}
`,
  };
}

/**
 * Kernel for the gradient by the queries: p = exp(score − lse), ds = p · (dy·vᵀ − delta) · scale, dq = ds·k.
 *
 * Bindings: q, k, v, dy, lse, delta, dq.
 */
export function attentionQueryGradient(shape: AttentionShape & AttentionFormats, target: KernelTarget): Kernel {
  return backend({
    ...overKeys(shape),
    tensors: { ...formats(shape, "q", "k", "v", "dy"), lse: "f32", delta: "f32", dq: "f32" },
    outputs: ["dq"],
    products: [["q", "k"], ["dy", "v"]],
    gathers: [{ output: "dq", weight: "slope", tensor: "k" }],
    ownStatistics: ["lse", "delta"],
    weigh: ({ rows, columns }) =>
      range(rows).flatMap((r) =>
        range(columns).map((c) =>
          `let slope${r}_${c} = ${weightOf(`score${r}_${c}`, `lse${r}`)} * (product${r}_${c} - delta${r}) * ${
            float(scaleOf(shape))
          };`
        )
      ),
  }, target);
}

/**
 * Kernel for the gradients by the keys and the values: with p and ds as for the queries, dk = dsᵀ·q, dv = pᵀ·dy.
 *
 * Bindings: q, k, v, dy, lse, delta, dk, dv.
 */
export function attentionKeyValueGradient(shape: AttentionShape & AttentionFormats, target: KernelTarget): Kernel {
  const { queries, keys, causal } = shape;
  return backend({
    ...shape,
    scale: scaleOf(shape),
    ownRows: keys,
    streamedRows: queries,
    tensors: { ...formats(shape, "q", "k", "v", "dy"), lse: "f32", delta: "f32", dk: "f32", dv: "f32" },
    outputs: ["dk", "dv"],
    statistics: ["lse", "delta"],
    products: [["k", "q"], ["v", "dy"]],
    gathers: [{ output: "dk", weight: "slope", tensor: "q" }, { output: "dv", weight: "p", tensor: "dy" }],
    streamedStatistics: ["lse", "delta"],
    begin: causal ? (block) => `${divide("firstRow", block)} * ${block}u` : undefined,
    meets: causal ? (key, query) => `${query} >= ${key}` : undefined,
    weigh: ({ rows, columns }) =>
      range(rows).flatMap((r) =>
        range(columns).flatMap((c) => [
          `let p${r}_${c} = ${weightOf(`score${r}_${c}`, `lse${c}`)};`,
          `let slope${r}_${c} = p${r}_${c} * (product${r}_${c} - delta${c}) * ${float(scaleOf(shape))};`,
        ])
      ),
  }, target);
}

function backend(parts: AttentionParts, target: KernelTarget): Kernel {
  if (!target.cpu || target.subgroupSize === 0) return attentionOnGpu(parts, target);
  return attentionByLanes(parts, target) ?? attentionOnCpu(parts, target);
}

/** Formats of tensors that are not f32. */
export interface AttentionFormats {
  readonly dtypes?: Readonly<Record<string, DType>>;
}

function formats<Name extends string>({ dtypes = {} }: AttentionFormats, ...names: Name[]): Record<Name, DType> {
  return Object.fromEntries(names.map((name) => [name, dtypes[name] ?? "f32"])) as Record<Name, DType>;
}

/**
 * WGSL of a weight of the softmax from its score and the log-sum-exp: at most 1. Of scores as large as 10¹⁰ the two keep few digits behind the point, and
 * the score, which is summed in another order here, could come out far above.
 */
function weightOf(score: string, lse: string): string {
  return `exp(min(${score} - ${lse}, 0.0))`;
}

const scaleOf = ({ scale, size }: AttentionShape) => scale ?? 1 / Math.sqrt(size);

/** The parts that kernels with a row for each query share. */
function overKeys(shape: AttentionShape) {
  const { queries, keys, causal } = shape;
  return {
    ...shape,
    scale: scaleOf(shape),
    ownRows: queries,
    streamedRows: keys,
    statistics: ["lse", "delta"],
    end: causal ? (count: number) => `min(${keys}u, firstRow + ${count}u)` : undefined,
    meets: causal ? (query: string, key: string) => `${key} <= ${query}` : undefined,
  };
}
