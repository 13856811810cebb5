import type { Kernel, KernelTarget } from "../../graph/kernel.ts";
import { range } from "./register_tile.ts";
import { binding, float } from "./wgsl.ts";

/** A kernel of attention over tiles of own rows by streamed rows, for CPU adapters. */
export interface RowTiles {
  readonly batch: number;
  readonly heads: number;
  /** Channels of a head. */
  readonly size: number;
  readonly ownRows: number;
  readonly streamedRows: number;
  /** Factor on the scores. */
  readonly scale: number;
  /** Pairs of an own and a streamed tensor whose rows are multiplied: the first gives the scores. */
  readonly products: readonly (readonly [own: string, streamed: string])[];
  /** Accumulated rows: `name += weight · tensor`, the weights being `<weight><r>_<c>`. */
  readonly gathers: readonly { readonly name: string; readonly weight: string; readonly tensor: string }[];
  /** All bindings in order, the outputs among them, and which of them are `[batch, heads, rows]`. */
  readonly bindings: readonly string[];
  readonly outputs: readonly string[];
  readonly statistics: readonly string[];
  /** Range of the streamed rows for a tile whose first row is `firstRow`; all rows when left out. */
  readonly begin?: string;
  readonly end?: string;
  /** Condition under which own row `row` and streamed row `column` meet. */
  readonly meets?: (row: string, column: string) => string;
  /** WGSL before the stream. */
  readonly before: (tile: RowTile) => readonly string[];
  /** WGSL that makes weights of the tile's `score<r>_<c>` and `product<r>_<c>`. */
  readonly weigh: (tile: RowTile) => readonly string[];
  /** WGSL after the stream, and a factor on the stored rows of which there is one value for each row, `<factor><r>`. */
  readonly after?: (tile: RowTile) => readonly string[];
  readonly factor?: string;
}

/** Sizes of a tile: own rows, streamed rows of a lane, and vectors that hold a head's channels. */
export interface RowTile {
  readonly rows: number;
  readonly columns: number;
  readonly vectors: number;
  readonly lanes: number;
}

/** What a masked score is: far below any score, and finite, so that no difference is NaN. */
const masked = "-1e30";

/**
 * Kernel in which a subgroup is a workgroup and owns a few rows: it multiplies them with blocks of streamed rows, a lane having a row of the
 * block, and then gathers the block's rows by the weights, a lane having a channel.
 *
 * Everything runs in loops of few instructions and no memory is shared: on a CPU each load and store becomes a branch for each lane, and
 * it is their number in the text that decides how long a kernel compiles.
 */
export function rowTileKernel(options: RowTiles, target: KernelTarget): Kernel {
  const { size, heads, ownRows, streamedRows, products, gathers, statistics } = options;
  const lanes = target.subgroupSize,
    rows = Math.min(lanes, 8, ownRows),
    columns = ownRows * streamedRows >= 16384 ? 2 : 1;
  const unit = size % 4 === 0 ? 4 : size % 2 === 0 ? 2 : 1;
  const tile = { rows, columns, lanes, vectors: Math.ceil(size / lanes) };
  const { vectors } = tile, block = lanes * columns;
  const tail = streamedRows % block !== 0, clamp = (row: string) => tail ? `min(${row}, ${streamedRows - 1}u)` : row;
  const bound = (count: number | string) =>
    `select(${count}${typeof count === "number" ? "u" : ""}, 0u, lane > ${lanes}u)`;
  const pairs = range(rows).flatMap((r) => range(columns).map((c) => [r, c] as const));

  // Scores: along the channels, an own row's broadcast to the lanes' streamed rows.
  const names = ["raw", "product"].slice(0, products.length);
  const step = products.flatMap(([own, streamed], p) => [
    `let mine${p} = ${own}[ownChannel];`,
    ...range(columns).map((c) => `let other${p}_${c} = ${streamed}[channel${c}];`),
    ...range(rows).flatMap((r) => [
      `let row${p}_${r} = subgroupBroadcast(mine${p}, ${r}u);`,
      ...range(columns).flatMap((c) => {
        const sum = `${names[p]}${r}_${c}`, x = `row${p}_${r}`, y = `other${p}_${c}`;
        return unit === 1
          ? [`${sum} = fma(${x}, ${y}, ${sum});`]
          : range(unit).map((i) => `${sum} = fma(${x}.${"xyzw"[i]}, ${y}.${"xyzw"[i]}, ${sum});`);
      }),
    ]),
  ]);
  // Four-vectors for the scores, one number of them for the gathering.
  const component = (channel: string) =>
    unit === 1 ? `[${channel}]` : `[(${channel}) / ${unit}u][(${channel}) % ${unit}u]`;
  const scores = pairs.map(([r, c]) => {
    const score = `raw${r}_${c} * ${float(options.scale)}`;
    const tests = [
      tail ? `(column${c} < ${streamedRows}u)` : "",
      options.meets ? `(${options.meets(`firstRow + ${r}u`, `column${c}`)})` : "",
    ].filter((test) => test);
    return `let score${r}_${c} = ${tests.length ? `select(${masked}, ${score}, ${tests.join(" & ")})` : score};`;
  });

  // Gathering: one streamed row of each of a lane's columns at a time, a channel to a lane.
  const gather = range(columns).flatMap((c) => [
    `let place${c} = (${clamp(`block + ${c * lanes}u + j`)} * ${heads}u) * ${size}u + streamBase;`,
    ...gathers.flatMap(({ name, weight, tensor }) => [
      ...range(vectors).map((v) => `let ${name}Value${c}_${v} = ${tensor}${component(`place${c} + channelOf${v}`)};`),
      ...range(rows).flatMap((r) => [
        `let ${name}Weight${c}_${r} = subgroupShuffle(${weight}${r}_${c}, j);`,
        ...range(vectors).map((v) =>
          `${name}${r}_${v} = fma(${name}Weight${c}_${r}, ${name}Value${c}_${v}, ${name}${r}_${v});`
        ),
      ]),
    ]),
  ]);

  // Storing: a loop over the rows, so that the text has one store for each vector.
  const pick = (values: string[]) =>
    values.reduceRight((rest, value, r) => rest ? `select(${rest}, ${value}, r == ${r}u)` : value, "");
  const stores = gathers.flatMap(({ name }) =>
    range(vectors).flatMap((v) => {
      const value = pick(range(rows).map((r) => `${name}${r}_${v}`));
      const factor = options.factor ? ` * ${pick(range(rows).map((r) => `${options.factor}${r}`))}` : "";
      const store = `${name}[place + channelOf${v}] = ${value}${factor};`;
      return [(v + 1) * lanes > size ? `if (lane < ${size - v * lanes}u) { ${store} }` : store];
    })
  );
  const type = (name: string) =>
    statistics.includes(name) || options.outputs.includes(name) || unit === 1 ? "f32" : `vec${unit}<f32>`;
  const bindings = options.bindings.map((name, at) =>
    binding(at, name, type(name), options.outputs.includes(name) ? "read_write" : "read")
  );
  return {
    workgroups: [Math.ceil(ownRows / rows), heads, options.batch],
    wgsl: `${bindings.join("\n")}

@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
let firstRow = group.x * ${rows}u;
let head = group.y;
let picture = group.z;
let laneRow = min(firstRow + min(lane, ${rows - 1}u), ${ownRows - 1}u);
let ownBase = (picture * ${ownRows * heads}u + head) * ${size}u;
let streamBase = (picture * ${streamedRows * heads}u + head) * ${size}u;
let ownStatistics = (picture * ${heads}u + head) * ${ownRows}u;
let streamStatistics = (picture * ${heads}u + head) * ${streamedRows}u;
${
      range(vectors).map((v) =>
        `let channelOf${v} = ${v * lanes}u + ${
          (v + 1) * lanes > size ? `min(lane, ${size - 1 - v * lanes}u)` : "lane"
        };`
      ).join("\n")
    }
${
      gathers.flatMap(({ name }) =>
        range(rows).flatMap((r) => range(vectors).map((v) => `var ${name}${r}_${v} = 0.0;`))
      ).join("\n")
    }
${options.before(tile).join("\n")}
for (var block = ${options.begin ?? "0u"}; block < ${bound(options.end ?? streamedRows)}; block += ${block}u) {
${
      range(columns).map((c) =>
        `let column${c} = block + lane + ${c * lanes}u;\nlet clamped${c} = ${clamp(`column${c}`)};`
      ).join("\n")
    }
${names.flatMap((name) => pairs.map(([r, c]) => `var ${name}${r}_${c} = 0.0;`)).join("\n")}
for (var step = 0u; step < ${bound(size / unit)}; step++) {
let ownChannel = laneRow * ${heads * size / unit}u + ownBase / ${unit}u + step;
${
      range(columns).map((c) =>
        `let channel${c} = clamped${c} * ${heads * size / unit}u + streamBase / ${unit}u + step;`
      ).join("\n")
    }
${step.join("\n")}
}
${scores.join("\n")}
${options.weigh(tile).join("\n")}
for (var j = 0u; j < ${bound(lanes)}; j++) {
${gather.join("\n")}
}
}
${options.after?.(tile).join("\n") ?? ""}
for (var r = 0u; r < ${bound(rows)}; r++) {
${ownRows % rows ? `if (firstRow + r >= ${ownRows}u) { break; }` : ""}
let place = (firstRow + r) * ${heads * size}u + ownBase;
${stores.join("\n")}
}
}
`,
  };
}
