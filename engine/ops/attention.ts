import { defineMultiOp } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { binding, float, grid } from "./kernels/wgsl.ts";

/** Heads, and whether a token sees only those before it. */
export interface AttentionAttributes {
  readonly heads: number;
  readonly causal?: boolean;
}

/**
 * Attention with what its gradient needs: `o = softmax(q·kᵀ/√d)·v` and, for each query, the logarithm of the sum of exponentials.
 *
 * `q` is `[batch, queries, heads · d]`, `k` and `v` `[batch, keys, heads · d]`; outputs `[batch, queries, heads · d]` and `[batch, heads, queries]`.
 */
export const attentionWithStatistics = defineMultiOp<readonly ["q", "k", "v"], AttentionAttributes>({
  name: "attention",
  inputs: ["q", "k", "v"],
  type: ({ q, k, v }, { heads }) => {
    const [batch, queries, size] = q.shape, [, keys] = k.shape;
    if (
      q.shape.length !== 3 || size % heads !== 0 || k.shape.join() !== v.shape.join() ||
      k.shape.join() !== [batch, keys, size].join()
    ) {
      throw new TypeError(
        `shapes differ: q is [${q.shape.join(", ")}], k is [${k.shape.join(", ")}], v is [${
          v.shape.join(", ")
        }], wanted [batch, tokens, ${heads} heads · size]`,
      );
    }
    return [{ shape: q.shape, dtype: "f32" }, { shape: [batch, heads, queries], dtype: "f32" }];
  },
  kernel: ({ inputs: { q, k }, attributes: { heads, causal }, target }) => {
    const [batch, queries, size] = q.shape, [, keys] = k.shape, d = size / heads;
    const lines = grid(batch * queries * size, target);
    return {
      workgroups: lines.workgroups,
      wgsl: `${binding(0, "q", "f32", "read")}
${binding(1, "k", "f32", "read")}
${binding(2, "v", "f32", "read")}
${binding(3, "o", "f32", "read_write")}
${binding(4, "lse", "f32", "read_write")}

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= ${batch * queries * size}u) { return; }
  let e = i % ${d}u;
  let head = i / ${d}u % ${heads}u;
  let query = i / ${size}u % ${queries}u;
  let picture = i / ${size * queries}u;
  let first = i - e;
  let last = ${causal ? "query + 1u" : `${keys}u`};
  var most = -1e30;
  var total = 0.0;
  var sum = 0.0;
  for (var t = 0u; t < last; t++) {
    let to = (picture * ${keys}u + t) * ${size}u + head * ${d}u;
    var score = 0.0;
    for (var c = 0u; c < ${d}u; c++) { score += q[first + c] * k[to + c]; }
    score *= ${float(1 / Math.sqrt(d))};
    let next = max(most, score);
    let keep = exp(most - next);
    let weight = exp(score - next);
    total = total * keep + weight;
    sum = sum * keep + weight * v[to + e];
    most = next;
  }
  o[i] = sum / total;
  if (e == 0u) { lse[(picture * ${heads}u + head) * ${queries}u + query] = most + log(total); }
}
`,
    };
  },
  samples: [],
});

/** Attention of `heads` heads, interleaved in the channels: see `attentionWithStatistics`. */
export function attention(q: Tensor, k: Tensor, v: Tensor, attributes: AttentionAttributes): Tensor {
  return attentionWithStatistics(q, k, v, attributes)[0];
}
