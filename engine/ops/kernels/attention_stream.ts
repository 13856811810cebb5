import type { Kernel, KernelTarget } from "../../graph/kernel.ts";
import {
  type AttentionParts,
  type AttentionTile,
  boundTensors,
  headVectors,
  keepGathered,
  maskedScore,
} from "./attention_parts.ts";
import { range } from "./register_tile.ts";
import { divide, float, modulo } from "./wgsl.ts";

/** Channels of a head that one invocation holds at most, before several share a row: beyond it registers run out. */
const mostChannels = 40;

const invocations = 64;

/** Own and gathered tensors, with which a second row fits the registers: 160 of a GPU's 255 numbers at 40 channels. */
const fewTensors = 2;
/** Fewest workgroups that keep a GPU busy: where fewer would run, none takes two rows. */
const fewestWorkgroups = 64;

/** Rows of an invocation: each vector from workgroup memory serves as many multiply-adds for each of its numbers. */
function rowsEach({ batch, heads, ownRows, products, gathers }: AttentionParts, teams: number): 1 | 2 {
  const isSmall = products.length + gathers.length <= fewTensors;
  return isSmall && batch * heads * Math.ceil(ownRows / (2 * teams)) >= fewestWorkgroups ? 2 : 1;
}

/**
 * Kernel for GPUs: an invocation, or a team of a few for a large head, owns a row or two in registers, and blocks of streamed rows pass by in
 * workgroup memory.
 */
export function attentionOnGpu(parts: AttentionParts, target: KernelTarget): Kernel {
  const { size, heads, ownRows, streamedRows } = parts;
  const { ownStatistics = [], streamedStatistics = [] } = parts;
  const { unit, type } = headVectors(size);
  const perRow = size / unit, team = teamSize(size, perRow), elements = perRow / team;
  const teams = invocations / team, rows = rowsEach(parts, teams), rowsPerGroup = teams * rows;
  const block = elements <= 4 ? 8 : 4;
  const tile: AttentionTile = {
    rows,
    columns: block,
    parts: elements,
    max: (value) => value,
    sum: (value) => value,
  };
  const clamp = (row: string) => streamedRows % block ? `min(${row}, ${streamedRows - 1}u)` : row;
  const tensors = [
    ...new Set([...parts.products.map(([, streamed]) => streamed), ...parts.gathers.map((g) => g.tensor)]),
  ];
  const owned = parts.products.map(([own]) => own);
  const { of, declarations } = boundTensors(parts, target, { input: unit, output: () => unit });
  const passing = (tensor: string, j: number, e: number) =>
    `${tensor}Tile[${j * perRow}u + part * ${elements}u + ${e}u]`;
  const lines = [
    declarations,
    ...tensors.map((tensor) => `var<workgroup> ${tensor}Tile: array<${type}, ${block * perRow}>;`),
    team > 1 ? `var<workgroup> partial: array<f32, ${invocations * block * rows * parts.products.length}>;` : "",
    `@compute @workgroup_size(${invocations})`,
    "fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {",
    `let firstRow = group.x * ${rowsPerGroup}u;`,
    "let head = group.y;",
    "let picture = group.z;",
    `let part = ${modulo("local", team)};`,
    ...range(rows).flatMap((r) => [
      `let row${r} = firstRow + ${r * teams}u + ${divide("local", team)};`,
      `let ownRow${r} = min(row${r}, ${ownRows - 1}u);`,
      `let place${r} = ((picture * ${ownRows}u + ownRow${r}) * ${heads}u + head) * ${perRow}u + part * ${elements}u;`,
      `let ownStatistic${r} = (picture * ${heads}u + head) * ${ownRows}u + ownRow${r};`,
    ]),
    `let streamedBase = (picture * ${streamedRows * heads}u + head) * ${perRow}u;`,
    `let streamedStatistics = (picture * ${heads}u + head) * ${streamedRows}u;`,
    ...range(rows).flatMap((r) => [
      ...owned.flatMap((tensor) =>
        range(elements).map((e) => `let ${tensor}${r}_${e} = ${of(tensor).load(`place${r} + ${e}u`)};`)
      ),
      ...ownStatistics.map((name) => `let ${name}${r} = ${name}[ownStatistic${r}];`),
      ...parts.gathers.flatMap(({ output }) => range(elements).map((e) => `var ${output}${r}_${e} = ${type}();`)),
    ]),
    ...(parts.before?.(tile) ?? []),
    `for (var block = ${parts.begin?.(block) ?? "0u"}; block < ${
      parts.end?.(rowsPerGroup) ?? `${streamedRows}u`
    }; block += ${block}u) {`,
    "workgroupBarrier();",
    `for (var i = local; i < ${block * perRow}u; i += ${invocations}u) {`,
    `let source = streamedBase + ${clamp(`(block + ${divide("i", perRow)})`)} * ${perRow * heads}u + ${
      modulo("i", perRow)
    };`,
    ...tensors.map((tensor) => `${tensor}Tile[i] = ${of(tensor).load("source")};`),
    "}",
    ...streamedStatistics.flatMap((name) =>
      range(block).map((j) => `let ${name}${j} = ${name}[streamedStatistics + ${clamp(`(block + ${j}u)`)}];`)
    ),
    "workgroupBarrier();",
    ...multiply(),
    ...parts.weigh(tile),
    ...keepGathered(parts, tile),
    ...range(block).flatMap((j) =>
      parts.gathers.flatMap(({ output, weight, tensor }) =>
        range(elements).flatMap((e) => [
          `let ${output}Passing_${j}_${e} = ${passing(tensor, j, e)};`,
          ...range(rows).map((r) =>
            `${output}${r}_${e} = fma(${type}(${weight}${r}_${j}), ${output}Passing_${j}_${e}, ${output}${r}_${e});`
          ),
        ])
      )
    ),
    "}",
    ...(parts.after?.(tile) ?? []),
    ...range(rows).flatMap((r) => [
      `if (row${r} < ${ownRows}u) {`,
      ...parts.gathers.flatMap(({ output }) =>
        range(elements).map((e) =>
          of(output).store(`place${r} + ${e}u`, `${output}${r}_${e}${parts.factor ? ` * ${parts.factor}${r}` : ""}`)
        )
      ),
      parts.result ? `if (part == 0u) { ${parts.result.name}[ownStatistic${r}] = ${parts.result.value(r)}; }` : "",
      "}",
    ]),
    "}",
  ];
  return {
    workgroups: [Math.ceil(ownRows / rowsPerGroup), heads, parts.batch],
    wgsl: lines.filter((line) => line).join("\n"),
  };

  /** Products of the own rows and the block's rows, added over the team, and masked scores. */
  function multiply(): string[] {
    const names = ["raw", "product"].slice(0, parts.products.length);
    const sums = names.flatMap((name, p) => {
      const [own, streamed] = parts.products[p];
      return range(block).flatMap((j) => [
        ...range(rows).map((r) => `var ${name}Sum${r}_${j} = ${type}();`),
        ...range(elements).flatMap((e) => [
          `let ${name}Passing_${j}_${e} = ${passing(streamed, j, e)};`,
          ...range(rows).map((r) =>
            `${name}Sum${r}_${j} = fma(${own}${r}_${e}, ${name}Passing_${j}_${e}, ${name}Sum${r}_${j});`
          ),
        ]),
      ]);
    });
    const add = (sum: string) =>
      unit === 4 ? `(${sum}.x + ${sum}.y) + (${sum}.z + ${sum}.w)` : unit === 2 ? `${sum}.x + ${sum}.y` : sum;
    const pairs = range(rows).flatMap((r) => range(block).map((j) => ({ r, j })));
    const all = names.flatMap((name) =>
      pairs.map(({ r, j }) => ({ sum: `${name}Sum${r}_${j}`, total: `${name}${r}_${j}` }))
    );
    const totals = team === 1 ? all.map(({ sum, total }) => `let ${total} = ${add(sum)};`) : [
      ...all.map(({ sum }, i) => `partial[local * ${all.length}u + ${i}u] = ${add(sum)};`),
      "workgroupBarrier();",
      `let firstOfTeam = (local - part) * ${all.length}u;`,
      ...all.map(({ total }, i) => {
        const values = range(team).map((member) => `partial[firstOfTeam + ${member * all.length + i}u]`);
        return `let ${total} = ${values.join(" + ")};`;
      }),
    ];
    const scores = pairs.map(({ r, j }) => {
      const score = `raw${r}_${j} * ${float(parts.scale)}`;
      const tests = [
        streamedRows % block ? `(block + ${j}u < ${streamedRows}u)` : "",
        parts.meets ? `(${parts.meets(`row${r}`, `block + ${j}u`)})` : "",
      ].filter((test) => test);
      return `let score${r}_${j} = ${tests.length ? `select(${maskedScore}, ${score}, ${tests.join(" & ")})` : score};`;
    });
    return [...sums, ...totals, ...scores];
  }
}

/** How many invocations share a row: a power of two that divides its vectors. */
function teamSize(size: number, perRow: number): number {
  let team = 1;
  while (size / team > mostChannels && perRow % (team * 2) === 0) team *= 2;
  return team;
}
