import type { Kernel, KernelTarget } from "../../graph/kernel.ts";
import { rowTileKernel } from "./attention_rows.ts";
import { rowStream, type Streaming } from "./row_stream.ts";
import { range } from "./register_tile.ts";
import { binding, divide, float, grid, modulo } from "./wgsl.ts";

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
 * A loop bound that is no constant to a CPU's compiler: unrolling the loop would make it compile many times longer.
 */
const notUnrolled = (count: number, { cpu }: KernelTarget) => cpu ? `select(${count}u, 0u, at.z > 0u)` : `${count}u`;

/** What a masked score is: far below any score, and finite, so that no difference is NaN. */
const masked = "-1e30";

const scaleOf = ({ scale, size }: AttentionShape) => float(scale ?? 1 / Math.sqrt(size));

/**
 * Kernel for `o = softmax(scale · q·kᵀ)·v` and the logarithm of each query's sum of exponentials, by an online softmax: one pass over keys
 * and values, no matrix of tokens by tokens.
 *
 * Each invocation (or a few, for large heads) owns a query and its row of the output in registers; keys and values stream by in blocks.
 * Bindings: q, k, v, o, lse `[batch, heads, queries]`.
 *
 * @see Dao et al. 2022, FlashAttention, https://arxiv.org/abs/2205.14135
 */
export function attentionForward(shape: AttentionShape, target: KernelTarget): Kernel {
  if (target.cpu && target.subgroupSize > 0) return forwardOnCpu(shape, target);
  const stream = streamOverKeys(shape, ["q"], 1, target);
  const { rows, elements, block, own, streamed, type } = stream;
  const update = range(rows).map((r) => {
    const scores = range(block).map((j) => `score${r}_${j}`);
    return `let next${r} = max(most${r}, ${scores.reduce((a, b) => `max(${a}, ${b})`)});
let keep${r} = exp(most${r} - next${r});
${scores.map((score, j) => `let p${r}_${j} = exp(${score} - next${r});`).join("\n")}
total${r} = total${r} * keep${r} + (${range(block).map((j) => `p${r}_${j}`).join(" + ")});
most${r} = next${r};
${range(elements).map((e) => `o${r}_${e} *= keep${r};`).join("\n")}`;
  });
  const weigh = stream.eachElement((j, e) => [
    `let value = ${streamed("v", j, e)};`,
    ...range(rows).map((r) => `o${r}_${e} = fma(${type}(p${r}_${j}), value, o${r}_${e});`),
  ]);
  return stream.kernel({
    bindings: ["q", "k", "v", "o", "lse"],
    outputs: ["o", "lse"],
    scalars: ["lse"],
    before: range(rows).flatMap((r) => [
      `var most${r} = ${masked};`,
      `var total${r} = 0.0;`,
      ...range(elements).map((e) => `var o${r}_${e} = ${type}();`),
    ]),
    each: [
      ...scores(shape, stream, own),
      ...update,
      ...weigh,
    ],
    after: range(rows).flatMap((r) => [
      `let inverse${r} = 1.0 / total${r};`,
      ...stream.store(r, [
        ...range(elements).map((e) => `o[own${r} + ${e}u] = o${r}_${e} * inverse${r};`),
        stream.once(`lse[statistics + row${r}] = most${r} + log(total${r});`),
      ]),
    ]),
  });
}

/**
 * Kernel for what the gradients need of output and gradient: for each query and head the sum of `dy · o` over the channels.
 *
 * Bindings: dy, o, delta `[batch, heads, queries]`.
 */
export function attentionDelta(
  { batch, heads, queries, size }: Pick<AttentionShape, "batch" | "heads" | "queries" | "size">,
  target: KernelTarget,
): Kernel {
  const count = batch * heads * queries, lines = grid(count, target), vectors = size % 4 === 0;
  const type = vectors ? "vec4<f32>" : "f32", steps = vectors ? size / 4 : size;
  return {
    workgroups: lines.workgroups,
    wgsl: `${binding(0, "dy", type, "read")}
${binding(1, "o", type, "read")}
${binding(2, "delta", "f32", "read_write")}

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= ${count}u) { return; }
  let query = ${modulo("i", queries)};
  let head = ${modulo(divide("i", queries), heads)};
  let first = ((${divide("i", queries * heads)} * ${queries}u + query) * ${heads}u + head) * ${steps}u;
  var sum = ${type}();
  for (var e = 0u; e < ${notUnrolled(steps, target)}; e++) { sum = fma(dy[first + e], o[first + e], sum); }
  delta[i] = ${vectors ? "(sum.x + sum.y) + (sum.z + sum.w)" : "sum"};
}
`,
  };
}

/**
 * Kernel for the gradient by the queries: p = exp(score − lse), ds = p · (dy·vᵀ − delta) · scale, dq = ds·k.
 *
 * Bindings: q, k, v, dy, lse, delta, dq.
 */
export function attentionQueryGradient(shape: AttentionShape, target: KernelTarget): Kernel {
  if (target.cpu && target.subgroupSize > 0) return queryGradientOnCpu(shape, target);
  const stream = streamOverKeys(shape, ["q", "dy"], 1, target);
  const { rows, elements, block, own, streamed, type } = stream;
  const slopes = range(rows).flatMap((r) =>
    range(block).map((j) =>
      `let slope${r}_${j} = exp(score${r}_${j} - lse${r}) * (product${r}_${j} - delta${r}) * ${scaleOf(shape)};`
    )
  );
  const gather = stream.eachElement((j, e) => [
    `let key = ${streamed("k", j, e)};`,
    ...range(rows).map((r) => `dq${r}_${e} = fma(${type}(slope${r}_${j}), key, dq${r}_${e});`),
  ]);
  return stream.kernel({
    bindings: ["q", "k", "v", "dy", "lse", "delta", "dq"],
    outputs: ["dq"],
    scalars: ["lse", "delta"],
    before: range(rows).flatMap((r) => [
      `let lse${r} = lse[statistics + ownRow${r}];`,
      `let delta${r} = delta[statistics + ownRow${r}];`,
      ...range(elements).map((e) => `var dq${r}_${e} = ${type}();`),
    ]),
    each: [
      ...scores(shape, stream, own, { name: "product", own: "dy", streamed: "v" }),
      ...slopes,
      ...gather,
    ],
    after: range(rows).flatMap((r) =>
      stream.store(r, range(elements).map((e) => `dq[own${r} + ${e}u] = dq${r}_${e};`))
    ),
  });
}

/**
 * Kernel for the gradients by the keys and the values: with p and ds as for the queries, dk = dsᵀ·q, dv = pᵀ·dy.
 *
 * Bindings: q, k, v, dy, lse, delta, dk, dv.
 */
export function attentionKeyValueGradient(shape: AttentionShape, target: KernelTarget): Kernel {
  const { queries, keys, causal } = shape;
  if (target.cpu && target.subgroupSize > 0) return keyValueGradientOnCpu(shape, target);
  const stream = rowStream({
    ...shape,
    ownRows: keys,
    streamedRows: queries,
    own: ["k", "v"],
    streamed: ["q", "dy"],
    streamedScalars: ["lse", "delta"],
    begin: causal ? (first, block) => `${divide(`min(${first}, ${queries}u)`, block)} * ${block}u` : undefined,
    sums: 2,
    target,
  });
  const { rows, elements, block, own, streamed, type } = stream;
  const weights = range(rows).flatMap((r) =>
    range(block).flatMap((j) => [
      `let p${r}_${j} = exp(score${r}_${j} - ${stream.scalar("lse", j)});`,
      `let slope${r}_${j} = p${r}_${j} * (product${r}_${j} - ${stream.scalar("delta", j)}) * ${scaleOf(shape)};`,
    ])
  );
  const gather = stream.eachElement((j, e) => [
    `let query = ${streamed("q", j, e)};`,
    `let gradient = ${streamed("dy", j, e)};`,
    ...range(rows).flatMap((r) => [
      `dk${r}_${e} = fma(${type}(slope${r}_${j}), query, dk${r}_${e});`,
      `dv${r}_${e} = fma(${type}(p${r}_${j}), gradient, dv${r}_${e});`,
    ]),
  ]);
  return stream.kernel({
    bindings: ["q", "k", "v", "dy", "lse", "delta", "dk", "dv"],
    outputs: ["dk", "dv"],
    scalars: ["lse", "delta"],
    before: range(rows).flatMap((r) =>
      range(elements).flatMap((e) => [`var dk${r}_${e} = ${type}();`, `var dv${r}_${e} = ${type}();`])
    ),
    each: [
      ...scores(
        shape,
        stream,
        own,
        { name: "product", own: "v", streamed: "dy" },
        { own: "k", streamed: "q", sees: (r, at) => causal ? `${at} >= row${r}` : "" },
      ),
      ...weights,
      ...gather,
    ],
    after: range(rows).flatMap((r) =>
      stream.store(
        r,
        range(elements).flatMap((e) => [`dk[own${r} + ${e}u] = dk${r}_${e};`, `dv[own${r} + ${e}u] = dv${r}_${e};`]),
      )
    ),
  });
}

/** A stream of keys and values past the queries. */
function streamOverKeys(shape: AttentionShape, own: string[], sums: number, target: KernelTarget): Streaming {
  const { queries, keys, causal } = shape;
  return rowStream({
    ...shape,
    ownRows: queries,
    streamedRows: keys,
    own,
    streamed: ["k", "v"],
    end: causal ? (first, count) => `min(${keys}u, ${first} + ${count}u)` : undefined,
    sums: own.length * sums,
    target,
  });
}

/**
 * WGSL of the block's scaled and masked scores `score<row>_<place>`, and of a second product of own and streamed rows where one is asked for.
 */
function scores(
  { causal, ...shape }: AttentionShape,
  stream: Streaming,
  own: Streaming["own"],
  second?: { name: string; own: string; streamed: string },
  first: { own: string; streamed: string; sees?: (r: number, at: string) => string } = { own: "q", streamed: "k" },
): string[] {
  const { rows, block, streamed } = stream;
  const sees = first.sees ?? ((r: number, at: string) => causal ? `${at} <= row${r}` : "");
  const products = [{ name: "raw", own: first.own, streamed: first.streamed }, ...(second ? [second] : [])];
  const sums = stream.eachElement((j, e) =>
    products.flatMap(({ name, own: mine, streamed: other }) => [
      `let ${name}Other = ${streamed(other, j, e)};`,
      ...range(rows).map((r) => {
        const sum = `${name}Sum${r}_${j}`;
        return `${sum} = fma(${own(mine, r, e)}, ${name}Other, ${sum});`;
      }),
    ])
  );
  const names = products.flatMap(({ name }) =>
    range(rows).flatMap((r) => range(block).map((j) => `${name}Sum${r}_${j}`))
  );
  const conditions = (r: number, j: number) =>
    [stream.inside(j), sees(r, `(block + ${j}u)`)].filter((condition) => condition);
  return [
    ...names.map((name) => `var ${name} = ${stream.type}();`),
    ...sums,
    ...stream.total(names),
    ...range(rows).flatMap((r) =>
      range(block).map((j) => {
        const score = `rawSum${r}_${j}Total * ${scaleOf(shape)}`, test = conditions(r, j);
        return `let score${r}_${j} = ${test.length ? `select(${masked}, ${score}, ${test.join(" & ")})` : score};`;
      })
    ),
    ...(second
      ? range(rows).flatMap((r) =>
        range(block).map((j) => `let ${second.name}${r}_${j} = ${second.name}Sum${r}_${j}Total;`)
      )
      : []),
  ];
}

function forwardOnCpu(shape: AttentionShape, target: KernelTarget): Kernel {
  return rowTileKernel({
    ...overKeys(shape),
    products: [["q", "k"]],
    gathers: [{ name: "o", weight: "p", tensor: "v" }],
    bindings: ["q", "k", "v", "o", "lse"],
    outputs: ["o", "lse"],
    before: ({ rows }) => range(rows).flatMap((r) => [`var most${r} = ${masked};`, `var total${r} = 0.0;`]),
    weigh: ({ rows, columns, vectors }) =>
      range(rows).flatMap((r) => {
        const most = range(columns).map((c) => `score${r}_${c}`).reduce((a, b) => `max(${a}, ${b})`);
        return [
          `let next${r} = max(most${r}, subgroupMax(${most}));`,
          `let keep${r} = exp(most${r} - next${r});`,
          ...range(columns).map((c) => `let p${r}_${c} = exp(score${r}_${c} - next${r});`),
          // Each lane keeps the total of its own columns.
          `total${r} = total${r} * keep${r} + ${range(columns).map((c) => `p${r}_${c}`).join(" + ")};`,
          `most${r} = next${r};`,
          ...range(vectors).map((v) => `o${r}_${v} *= keep${r};`),
        ];
      }),
    after: ({ rows }) => [
      ...range(rows).flatMap((r) => [`let sum${r} = subgroupAdd(total${r});`, `let inverse${r} = 1.0 / sum${r};`]),
      "var statistic = 0.0;",
      ...range(rows).map((r) => `statistic = select(statistic, most${r} + log(sum${r}), lane == ${r}u);`),
      `if (lane < ${rows}u && firstRow + lane < ${shape.queries}u) { lse[ownStatistics + laneRow] = statistic; }`,
    ],
    factor: "inverse",
  }, target);
}

function queryGradientOnCpu(shape: AttentionShape, target: KernelTarget): Kernel {
  return rowTileKernel({
    ...overKeys(shape),
    products: [["q", "k"], ["dy", "v"]],
    gathers: [{ name: "dq", weight: "slope", tensor: "k" }],
    bindings: ["q", "k", "v", "dy", "lse", "delta", "dq"],
    outputs: ["dq"],
    before: ({ rows }) => [
      "let laneLse = lse[ownStatistics + laneRow];",
      "let laneDelta = delta[ownStatistics + laneRow];",
      ...range(rows).flatMap((r) => [
        `let lse${r} = subgroupBroadcast(laneLse, ${r}u);`,
        `let delta${r} = subgroupBroadcast(laneDelta, ${r}u);`,
      ]),
    ],
    weigh: ({ rows, columns }) =>
      range(rows).flatMap((r) =>
        range(columns).map((c) =>
          `let slope${r}_${c} = exp(score${r}_${c} - lse${r}) * (product${r}_${c} - delta${r}) * ${scaleOf(shape)};`
        )
      ),
  }, target);
}

function keyValueGradientOnCpu(shape: AttentionShape, target: KernelTarget): Kernel {
  const { queries, keys, causal } = shape;
  return rowTileKernel({
    ...shape,
    scale: shape.scale ?? 1 / Math.sqrt(shape.size),
    ownRows: keys,
    streamedRows: queries,
    statistics: ["lse", "delta"],
    products: [["k", "q"], ["v", "dy"]],
    gathers: [{ name: "dk", weight: "slope", tensor: "q" }, { name: "dv", weight: "p", tensor: "dy" }],
    bindings: ["q", "k", "v", "dy", "lse", "delta", "dk", "dv"],
    outputs: ["dk", "dv"],
    begin: causal ? "firstRow" : undefined,
    meets: causal ? (key, query) => `${query} >= ${key}` : undefined,
    before: () => [],
    weigh: ({ rows, columns }) =>
      range(columns).flatMap((c) => [
        `let lse${c} = lse[streamStatistics + clamped${c}];`,
        `let delta${c} = delta[streamStatistics + clamped${c}];`,
        ...range(rows).flatMap((r) => [
          `let p${r}_${c} = exp(score${r}_${c} - lse${c});`,
          `let slope${r}_${c} = p${r}_${c} * (product${r}_${c} - delta${c}) * ${scaleOf(shape)};`,
        ]),
      ]),
  }, target);
}

function overKeys(shape: AttentionShape) {
  const { queries, keys, causal } = shape;
  return {
    ...shape,
    scale: shape.scale ?? 1 / Math.sqrt(shape.size),
    ownRows: queries,
    streamedRows: keys,
    statistics: ["lse", "delta"],
    end: causal ? `min(${keys}u, firstRow + 8u)` : undefined,
    meets: causal ? (query: string, key: string) => `${key} <= ${query}` : undefined,
  };
}
