import type { Kernel, KernelTarget } from "../../graph/kernel.ts";
import { range } from "./register_tile.ts";
import { binding, divide, modulo } from "./wgsl.ts";

/** Rows that stay in registers while other rows stream by: what the kernels of attention have in common. */
export interface StreamOptions {
  readonly batch: number;
  readonly heads: number;
  /** Channels of one head. */
  readonly size: number;
  readonly ownRows: number;
  readonly streamedRows: number;
  /** Tensors `[batch, ownRows, heads · size]` whose rows are held. */
  readonly own: readonly string[];
  /** Tensors `[batch, streamedRows, heads · size]` whose rows stream by. */
  readonly streamed: readonly string[];
  /** Tensors `[batch, heads, streamedRows]` that stream along. */
  readonly streamedScalars?: readonly string[];
  /** First streamed row, and the one after the last, for a workgroup whose first row is `first`. */
  readonly begin?: (first: string, block: number) => string;
  readonly end?: (first: string, count: number) => string;
  /** Kinds of products of an own row and a streamed row. */
  readonly sums: number;
  readonly target: KernelTarget;
}

/** The parts that a kernel over a row stream is written with. */
export interface Streaming {
  /** Rows that an invocation owns, elements of a row that it holds, and streamed rows in a block. */
  readonly rows: number;
  readonly elements: number;
  readonly block: number;
  /** WGSL type of an element. */
  readonly type: string;
  /** Element `e` of own row `r`; element `e` of the block's row `j`; the block's scalar `j`. */
  readonly own: (tensor: string, r: number, e: number) => string;
  readonly streamed: (tensor: string, j: number, e: number) => string;
  readonly scalar: (tensor: string, j: number) => string;
  /** Lines for every element of every row of a block, each pair in a scope of its own. */
  readonly eachElement: (lines: (j: number, e: number) => string[]) => string[];
  /** Condition under which the block's row `j` exists; empty when it always does. */
  readonly inside: (j: number) => string;
  /** Lines that make `<name>Total`, the sum of an element's components over the invocations that share a row. */
  readonly total: (names: string[]) => string[];
  /** Lines under the condition that own row `r` exists. */
  readonly store: (r: number, lines: string[]) => string[];
  /** A line for one of the invocations that share a row. */
  readonly once: (line: string) => string;
  readonly kernel: (text: StreamKernel) => Kernel;
}

/** A kernel's text around the stream. */
export interface StreamKernel {
  /** All bindings in order; which of them are outputs, and which are `[batch, heads, rows]`. */
  readonly bindings: readonly string[];
  readonly outputs: readonly string[];
  readonly scalars: readonly string[];
  readonly before: readonly string[];
  readonly each: readonly string[];
  readonly after: readonly string[];
}

/** Elements of a head that one invocation holds at most, before several share a row: beyond it registers run out. */
const mostChannels = 40;

/**
 * Lays rows out over invocations. On a CPU a subgroup loads each block of streamed rows together and broadcasts; on a GPU a workgroup
 * does so by way of workgroup memory, and several invocations share a long row.
 */
export function rowStream(options: StreamOptions): Streaming {
  const { size, heads, ownRows, streamedRows, target } = options;
  const cpu = target.cpu && target.subgroupSize > 0;
  const unit = size % 4 === 0 ? 4 : size % 2 === 0 ? 2 : 1, type = unit === 1 ? "f32" : `vec${unit}<f32>`;
  const perRow = size / unit, rowPitch = perRow * heads;
  const shared = cpu ? 1 : sharing(size, perRow);
  const elements = perRow / shared, lanes = cpu ? target.subgroupSize : 64;
  const rows = cpu && size * options.own.length * options.sums <= 40 && ownRows > lanes ? 2 : 1;
  const block = cpu ? cpuBlock(perRow, lanes, size) : perRow / shared <= 4 ? 8 : 4;
  const rowsPerGroup = lanes / shared * rows;
  const loads = Math.ceil(block * perRow / lanes);
  const tail = streamedRows % block !== 0;
  const clamp = (row: string) => tail ? `min(${row}, ${streamedRows - 1}u)` : row;
  const place = (row: string) => `streamBase + ${clamp(row)} * ${rowPitch}u`;
  const scalars = options.streamedScalars ?? [];

  const cpuLoads = [
    ...range(loads).map((i) => `let source${i} = ${place(`(block + streamRow${i})`)} + streamColumn${i};`),
    ...options.streamed.flatMap((tensor) => range(loads).map((i) => `let ${tensor}Load${i} = ${tensor}[source${i}];`)),
    ...(scalars.length ? [`let scalarAt = scalarBase + ${clamp(`(block + ${modulo("lane", block)})`)};`] : []),
    ...scalars.map((tensor) => `let ${tensor}Load = ${tensor}[scalarAt];`),
  ];
  const gpuLoads = [
    "workgroupBarrier();",
    `for (var i = lane; i < ${block * perRow}u; i += ${lanes}u) {
  let source = ${place(`(block + ${divide("i", perRow)})`)} + ${modulo("i", perRow)};
  ${options.streamed.map((tensor) => `${tensor}Tile[i] = ${tensor}[source];`).join("\n  ")}
}`,
    ...scalars.flatMap((tensor) =>
      range(block).map((j) => `let ${tensor}${j} = ${tensor}[scalarBase + ${clamp(`(block + ${j}u)`)}];`)
    ),
    "workgroupBarrier();",
  ];

  const total = (names: string[]) => {
    const add = (name: string) =>
      unit === 4 ? `(${name}.x + ${name}.y) + (${name}.z + ${name}.w)` : unit === 2 ? `${name}.x + ${name}.y` : name;
    if (shared === 1) return names.map((name) => `let ${name}Total = ${add(name)};`);
    return [
      ...names.map((name, i) => `partial[lane * ${names.length}u + ${i}u] = ${add(name)};`),
      "workgroupBarrier();",
      `let team = (lane - part) * ${names.length}u;`,
      ...names.map((name, i) =>
        `let ${name}Total = ${range(shared).map((p) => `partial[team + ${p * names.length + i}u]`).join(" + ")};`
      ),
    ];
  };

  const kernel = (text: StreamKernel): Kernel => {
    const bindings = text.bindings.map((name, at) =>
      binding(at, name, text.scalars.includes(name) ? "f32" : type, text.outputs.includes(name) ? "read_write" : "read")
    );
    const memory = cpu ? [] : [
      ...options.streamed.map((tensor) => `var<workgroup> ${tensor}Tile: array<${type}, ${block * perRow}>;`),
      ...(shared > 1 ? [`var<workgroup> partial: array<f32, ${lanes * block * options.sums}>;`] : []),
    ];
    const owned = range(rows).flatMap((r) => [
      `let row${r} = firstRow + ${shared === 1 ? "lane" : divide("lane", shared)} + ${r * lanes}u;`,
      `let ownRow${r} = min(row${r}, ${ownRows - 1}u);`,
      `let own${r} = ((picture * ${ownRows}u + ownRow${r}) * ${heads}u + head) * ${perRow}u${
        shared > 1 ? ` + part * ${elements}u` : ""
      };`,
      ...options.own.flatMap((tensor) =>
        range(elements).map((e) => `let ${tensor}${r}_${e} = ${tensor}[own${r} + ${e}u];`)
      ),
    ]);
    const places = cpu
      ? range(loads).flatMap((i) => [
        `let streamRow${i} = ${divide(`(lane + ${i * lanes}u)`, perRow)};`,
        `let streamColumn${i} = ${modulo(`(lane + ${i * lanes}u)`, perRow)};`,
      ])
      : [];
    const begin = options.begin?.("firstRow", block) ?? "0u";
    const end = options.end?.("firstRow", rowsPerGroup) ?? `${streamedRows}u`;
    // On a CPU the bound is no constant to the compiler: unrolling the loop would make it compile many times longer.
    const bound = cpu ? `select(${end}, 0u, lane > ${lanes}u)` : end;
    return {
      workgroups: [Math.ceil(ownRows / rowsPerGroup), heads, options.batch],
      wgsl: `${[...bindings, ...memory].join("\n")}

@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, ${
        cpu ? "@builtin(subgroup_invocation_id)" : "@builtin(local_invocation_index)"
      } lane: u32) {
let firstRow = group.x * ${rowsPerGroup}u;
let head = group.y;
let picture = group.z;
let part = ${modulo("lane", shared)};
let streamBase = (picture * ${streamedRows}u * ${heads}u + head) * ${perRow}u;
let scalarBase = (picture * ${heads}u + head) * ${streamedRows}u;
let statistics = (picture * ${heads}u + head) * ${ownRows}u;
${[...owned, ...places, ...text.before].join("\n")}
for (var block = ${begin}; block < ${bound}; block += ${block}u) {
${[...(cpu ? cpuLoads : gpuLoads), ...text.each].join("\n")}
}
${text.after.join("\n")}
}
`,
    };
  };

  return {
    rows,
    elements,
    block,
    type,
    own: (tensor, r, e) => `${tensor}${r}_${e}`,
    streamed: (tensor, j, e) => {
      if (!cpu) return `${tensor}Tile[${j * perRow}u + part * ${elements}u + ${e}u]`;
      const at = j * perRow + e;
      return `subgroupBroadcast(${tensor}Load${Math.floor(at / lanes)}, ${at % lanes}u)`;
    },
    scalar: (tensor, j) => cpu ? `subgroupBroadcast(${tensor}Load, ${j}u)` : `${tensor}${j}`,
    eachElement: (lines) => range(block).flatMap((j) => range(elements).map((e) => `{\n${lines(j, e).join("\n")}\n}`)),
    inside: (j) => tail ? `(block + ${j}u < ${streamedRows}u)` : "",
    total,
    store: (r, lines) => ownRows % rowsPerGroup ? [`if (row${r} < ${ownRows}u) {`, ...lines, "}"] : lines,
    once: (line) => shared > 1 ? `if (part == 0u) { ${line} }` : line,
    kernel,
  };
}

/** How many invocations share a row on a GPU: a power of two that divides its elements. */
function sharing(size: number, perRow: number): number {
  let shared = 1;
  while (size / shared > mostChannels && perRow % (shared * 2) === 0) shared *= 2;
  return shared;
}

/** Streamed rows in a block on a CPU: as few as make whole loads of all lanes. */
function cpuBlock(perRow: number, lanes: number, size: number): number {
  let block = 1;
  while (block < lanes && (block * perRow % lanes !== 0 || block * size < 32)) block *= 2;
  return block;
}
