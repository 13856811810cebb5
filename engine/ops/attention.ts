import { defineMultiOp, defineOp } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { DType, TensorType } from "../graph/types.ts";
import {
  attentionDelta as deltaKernel,
  attentionForward,
  attentionKeyValueGradient as keyValueGradientKernel,
  attentionQueryGradient as queryGradientKernel,
  type AttentionShape,
} from "./kernels/attention.ts";

/** Heads, and whether a token sees only those before it. */
export interface AttentionAttributes {
  readonly heads: number;
  readonly causal?: boolean;
}

function shapeOf(q: TensorType, k: TensorType, { heads, causal = false }: AttentionAttributes): AttentionShape {
  const [batch, queries, channels] = q.shape;
  return { batch, queries, keys: k.shape[1], heads, size: channels / heads, causal };
}

function formatsOf(types: Readonly<Record<string, TensorType>>): Record<string, DType> {
  return Object.fromEntries(Object.entries(types).map(([name, { dtype }]) => [name, dtype]));
}

/**
 * Attention with what its gradient needs: `o = softmax(q·kᵀ/√size)·v` and, for each query, the logarithm of the sum of exponentials.
 *
 * `q` is `[batch, queries, heads · size]`, `k` and `v` `[batch, keys, heads · size]`; outputs `[batch, queries, heads · size]` and
 * `[batch, heads, queries]`. No matrix of tokens × tokens is stored, forward or backward.
 *
 * @see Dao et al. 2022, FlashAttention, https://arxiv.org/abs/2205.14135
 */
const attentionWithStatistics = defineMultiOp<readonly ["q", "k", "v"], AttentionAttributes>({
  name: "attention",
  runsAlone: true,
  narrows: 1,
  inputs: ["q", "k", "v"],
  type: ({ q, k, v }, { heads }) => {
    const [batch, queries, channels] = q.shape, [, keys] = k.shape;
    if (
      q.shape.length !== 3 || channels % heads !== 0 || k.shape.join() !== v.shape.join() ||
      k.shape.join() !== [batch, keys, channels].join()
    ) {
      throw new TypeError(
        `shapes differ: q is [${q.shape.join(", ")}], k is [${k.shape.join(", ")}], v is [${
          v.shape.join(", ")
        }], wanted [batch, tokens, ${heads} heads · size]`,
      );
    }
    return [{ shape: q.shape, dtype: "f32" }, { shape: [batch, heads, queries], dtype: "f32" }];
  },
  kernel: ({ inputs: { q, k, v }, output, attributes, target }) =>
    attentionForward({ ...shapeOf(q, k, attributes), dtypes: formatsOf({ q, k, v, o: output }) }, target),
  // p = exp(score − lse), ds = p ⊙ (do·vᵀ − delta + dlse) / √size with delta = Σ channels do ⊙ o:  dq = ds·k, dk = dsᵀ·q, dv = pᵀ·do
  gradient: (dy, { q, k, v }, { outputs: [o, lse], attributes, wants }) => {
    const [dOutput, dStatistics] = dy as unknown as (Tensor | null)[];
    if (dStatistics || !dOutput) throw new TypeError("Cannot differentiate attention by its statistics");
    const delta = attentionDelta(dOutput, o, attributes);
    const [dk, dv] = wants.k || wants.v
      ? attentionKeyValueGradient(q, k, v, dOutput, lse, delta, attributes)
      : [null, null];
    return { q: wants.q ? attentionQueryGradient(q, k, v, dOutput, lse, delta, attributes) : null, k: dk, v: dv };
  },
  samples: [],
});

/** What the gradients of attention share: Σ of `dy · o` over each head's channels, `[batch, heads, queries]`. */
export const attentionDelta = defineOp<readonly ["dy", "o"], AttentionAttributes>({
  name: "attention_delta",
  runsAlone: true,
  inputs: ["dy", "o"],
  type: ({ dy: { shape: [batch, queries] } }, { heads }) => ({ shape: [batch, heads, queries], dtype: "f32" }),
  kernel: ({ inputs: { dy, o }, attributes, target }) =>
    deltaKernel({ ...shapeOf(dy, dy, attributes), dtypes: formatsOf({ dy, o }) }, target),
  samples: [{
    inputs: { dy: [1, 2, 6], o: [1, 2, 6] },
    attributes: { heads: 2 },
    // [heads, queries], from [queries, heads · 3]
    expect: (dy, o) => [0, 6, 3, 9].map((at) => [0, 1, 2].reduce((sum, c) => sum + dy[at + c] * o[at + c], 0)),
  }],
});

/** For the samples of one channel: the softmax's weight, which is at most 1 since lse is at least every score. */
const weightOf = ([q]: number[], [k]: number[], [lse]: number[]) => Math.exp(Math.min(q * k - lse, 0));

const gradientInputs = ["q", "k", "v", "dy", "lse", "delta"] as const;

/** Gradient of attention by the queries; see `attentionWithStatistics`. */
export const attentionQueryGradient = defineOp<typeof gradientInputs, AttentionAttributes>({
  name: "attention_query_gradient",
  runsAlone: true,
  inputs: gradientInputs,
  type: ({ q }) => ({ shape: q.shape, dtype: "f32" }),
  kernel: ({ inputs, attributes, target }) =>
    queryGradientKernel({ ...shapeOf(inputs.q, inputs.k, attributes), dtypes: formatsOf(inputs) }, target),
  samples: [{
    inputs: { q: [1, 1, 1], k: [1, 1, 1], v: [1, 1, 1], dy: [1, 1, 1], lse: [1, 1, 1], delta: [1, 1, 1] },
    attributes: { heads: 1 },
    expect: (q, k, v, dy, lse, delta) => [weightOf(q, k, lse) * (dy[0] * v[0] - delta[0]) * k[0]],
  }],
});

/** Gradients of attention by the keys and the values; see `attentionWithStatistics`. */
export const attentionKeyValueGradient = defineMultiOp<typeof gradientInputs, AttentionAttributes>({
  name: "attention_key_value_gradient",
  runsAlone: true,
  inputs: gradientInputs,
  type: ({ k }) => [{ shape: k.shape, dtype: "f32" }, { shape: k.shape, dtype: "f32" }],
  kernel: ({ inputs, attributes, target }) =>
    keyValueGradientKernel({ ...shapeOf(inputs.q, inputs.k, attributes), dtypes: formatsOf(inputs) }, target),
  samples: [{
    inputs: { q: [1, 1, 1], k: [1, 1, 1], v: [1, 1, 1], dy: [1, 1, 1], lse: [1, 1, 1], delta: [1, 1, 1] },
    attributes: { heads: 1 },
    expect: (q, k, v, dy, lse, delta) => {
      const p = weightOf(q, k, lse);
      return [[p * (dy[0] * v[0] - delta[0]) * q[0]], [p * dy[0]]];
    },
  }],
});

/**
 * Attention of `heads` heads that are interleaved in the channels: `softmax(q·kᵀ/√size)·v`.
 *
 * @param q `[batch, queries, heads · size]`
 * @param k `[batch, keys, heads · size]`, as `v`.
 * @returns `[batch, queries, heads · size]`
 */
export const attention = Object.assign(
  (q: Tensor, k: Tensor, v: Tensor, attributes: AttentionAttributes): Tensor =>
    attentionWithStatistics(q, k, v, attributes)[0],
  {
    /** Attention's first output alone, as the op test sees it. */
    definition: {
      ...attentionWithStatistics.definition,
      samples: [
        { batch: 1, queries: 1, keys: 1, heads: 1, size: 3 },
        { batch: 1, queries: 7, keys: 7, heads: 2, size: 8, causal: true },
        { batch: 2, queries: 3, keys: 5, heads: 1, size: 10 },
        { batch: 1, queries: 33, keys: 9, heads: 1, size: 40 },
        { batch: 1, queries: 2, keys: 3, heads: 1, size: 80 },
        { batch: 1, queries: 2, keys: 3, heads: 1, size: 160 },
      ].map(({ batch, queries, keys, heads, size, causal = false }) => ({
        inputs: {
          q: [batch, queries, heads * size],
          k: [batch, keys, heads * size],
          v: [batch, keys, heads * size],
        },
        attributes: { heads, causal },
        ownKernelsOnly: size > 10,
        expect: byDefinition({ batch, queries, keys, heads, size, causal }),
      })),
    },
  },
);

/** Attention by its definition, for the samples. */
function byDefinition({ batch, queries, keys, heads, size, causal }: AttentionShape) {
  const channels = heads * size;
  return (q: number[], k: number[], v: number[]) => {
    const o = new Array<number>(batch * queries * channels);
    for (let b = 0; b < batch; b++) {
      for (let h = 0; h < heads; h++) {
        for (let t = 0; t < queries; t++) {
          const at = (b * queries + t) * channels + h * size;
          const to = (s: number) => (b * keys + s) * channels + h * size;
          const seen = causal ? t + 1 : keys;
          const weights = Array.from({ length: seen }, (_, s) => {
            let score = 0;
            for (let c = 0; c < size; c++) score += q[at + c] * k[to(s) + c];
            return Math.exp(score / Math.sqrt(size));
          });
          const total = weights.reduce((a, w) => a + w, 0);
          for (let c = 0; c < size; c++) {
            o[at + c] = weights.reduce((sum, w, s) => sum + w * v[to(s) + c], 0) / total;
          }
        }
      }
    }
    return o;
  };
}
