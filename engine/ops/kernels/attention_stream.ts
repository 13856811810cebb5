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

/**
 * Kernel for GPUs: an invocation, or a team of a few for a large head, owns a row in registers, and blocks of streamed rows pass by in
 * workgroup memory.
 */
export function attentionOnGpu(parts: AttentionParts, target: KernelTarget): Kernel {
  const { size, heads, ownRows, streamedRows } = parts;
  const { ownStatistics = [], streamedStatistics = [] } = parts;
  const { unit, type } = headVectors(size);
  const perRow = size / unit, team = teamSize(size, perRow), elements = perRow / team;
  const block = elements <= 4 ? 8 : 4, rowsPerGroup = invocations / team;
  const tile: AttentionTile = {
    rows: 1,
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
    team > 1 ? `var<workgroup> partial: array<f32, ${invocations * block * parts.products.length}>;` : "",
    `@compute @workgroup_size(${invocations})`,
    "fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {",
    `let firstRow = group.x * ${rowsPerGroup}u;`,
    "let head = group.y;",
    "let picture = group.z;",
    `let part = ${modulo("local", team)};`,
    `let row = firstRow + ${divide("local", team)};`,
    `let ownRow = min(row, ${ownRows - 1}u);`,
    `let place = ((picture * ${ownRows}u + ownRow) * ${heads}u + head) * ${perRow}u + part * ${elements}u;`,
    `let streamedBase = (picture * ${streamedRows * heads}u + head) * ${perRow}u;`,
    `let ownStatistic = (picture * ${heads}u + head) * ${ownRows}u + ownRow;`,
    `let streamedStatistics = (picture * ${heads}u + head) * ${streamedRows}u;`,
    ...owned.flatMap((tensor) =>
      range(elements).map((e) => `let ${tensor}_${e} = ${of(tensor).load(`place + ${e}u`)};`)
    ),
    ...ownStatistics.map((name) => `let ${name}0 = ${name}[ownStatistic];`),
    ...parts.gathers.flatMap(({ output }) => range(elements).map((e) => `var ${output}0_${e} = ${type}();`)),
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
        range(elements).map((e) =>
          `${output}0_${e} = fma(${type}(${weight}0_${j}), ${passing(tensor, j, e)}, ${output}0_${e});`
        )
      )
    ),
    "}",
    ...(parts.after?.(tile) ?? []),
    `if (row < ${ownRows}u) {`,
    ...parts.gathers.flatMap(({ output }) =>
      range(elements).map((e) =>
        of(output).store(`place + ${e}u`, `${output}0_${e}${parts.factor ? ` * ${parts.factor}0` : ""}`)
      )
    ),
    parts.result ? `if (part == 0u) { ${parts.result.name}[ownStatistic] = ${parts.result.value(0)}; }` : "",
    "}",
    "}",
  ];
  return {
    workgroups: [Math.ceil(ownRows / rowsPerGroup), heads, parts.batch],
    wgsl: lines.filter((line) => line).join("\n"),
  };

  /** Products of the own row and the block's rows, added over the team, and masked scores. */
  function multiply(): string[] {
    const names = ["raw", "product"].slice(0, parts.products.length);
    const sums = names.flatMap((name, p) => {
      const [own, streamed] = parts.products[p];
      return range(block).flatMap((j) => [
        `var ${name}Sum_${j} = ${type}();`,
        ...range(elements).map((e) =>
          `${name}Sum_${j} = fma(${own}_${e}, ${passing(streamed, j, e)}, ${name}Sum_${j});`
        ),
      ]);
    });
    const add = (sum: string) =>
      unit === 4 ? `(${sum}.x + ${sum}.y) + (${sum}.z + ${sum}.w)` : unit === 2 ? `${sum}.x + ${sum}.y` : sum;
    const all = names.flatMap((name) => range(block).map((j) => ({ sum: `${name}Sum_${j}`, total: `${name}0_${j}` })));
    const totals = team === 1 ? all.map(({ sum, total }) => `let ${total} = ${add(sum)};`) : [
      ...all.map(({ sum }, i) => `partial[local * ${all.length}u + ${i}u] = ${add(sum)};`),
      "workgroupBarrier();",
      `let firstOfTeam = (local - part) * ${all.length}u;`,
      ...all.map(({ total }, i) => {
        const values = range(team).map((member) => `partial[firstOfTeam + ${member * all.length + i}u]`);
        return `let ${total} = ${values.join(" + ")};`;
      }),
    ];
    const scores = range(block).map((j) => {
      const score = `raw0_${j} * ${float(parts.scale)}`;
      const tests = [
        streamedRows % block ? `(block + ${j}u < ${streamedRows}u)` : "",
        parts.meets ? `(${parts.meets("row", `block + ${j}u`)})` : "",
      ].filter((test) => test);
      return `let score0_${j} = ${tests.length ? `select(${maskedScore}, ${score}, ${tests.join(" & ")})` : score};`;
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
