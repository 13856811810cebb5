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

/** Numbers of own and gathered rows that an invocation holds at most, of a GPU's 255 registers: for more, several share their rows. */
const mostNumbers = 160;

const invocations = 64;
/** Numbers between two sums of a team's members: one more than there are invocations, so that what these read at once falls on different banks. */
const pitch = invocations + 1;

/** Fewest workgroups that keep a GPU busy: where fewer would run, none takes two rows. */
const fewestWorkgroups = 64;

/** Invocations that share rows, and how many rows: each vector from workgroup memory serves as many multiply-adds for each of its numbers. */
function sharing({ batch, heads, ownRows, size, products, gathers }: AttentionParts): { team: number; rows: 1 | 2 } {
  const { unit } = headVectors(size), perRow = size / unit, numbers = 2 * unit * (products.length + gathers.length);
  let team = 1;
  while (perRow / team * numbers > mostNumbers && perRow % (team * 2) === 0) team *= 2;
  const groups = batch * heads * Math.ceil(ownRows * team / (2 * invocations));
  return { team, rows: groups >= fewestWorkgroups ? 2 : 1 };
}

/**
 * Kernel for GPUs: an invocation, or a team of a few for a large head, owns a row or two in registers, and blocks of streamed rows pass by in
 * workgroup memory. Where weights do not depend on one another, as the gradients' do not, each of a team makes its part of them for all.
 */
export function attentionOnGpu(parts: AttentionParts, target: KernelTarget): Kernel {
  const { size, heads, ownRows, streamedRows } = parts;
  const { ownStatistics = [], streamedStatistics = [] } = parts;
  const { unit, type } = headVectors(size);
  const { team, rows } = sharing(parts), perRow = size / unit, elements = perRow / team;
  const teams = invocations / team, rowsPerGroup = teams * rows, divides = team > 1 && !parts.keep;
  const tensors = [
    ...new Set([...parts.products.map(([, streamed]) => streamed), ...parts.gathers.map((g) => g.tensor)]),
  ];
  // One more than there are, so that what neighbours read at once falls on different banks.
  const weightPitch = (block: number) => rows * block * parts.gathers.length + 1;
  /** Numbers of workgroup memory: sums of a team's members, and weights that it makes for all of them. */
  const partialCount = (block: number) => team > 1 ? rows * block * parts.products.length * pitch : 0;
  const weightCount = (block: number) => divides ? teams * weightPitch(block) : 0;
  const fits = (block: number) =>
    4 * (tensors.length * block * size + partialCount(block) + weightCount(block)) <= target.maxWorkgroupStorageBytes;
  // Streamed rows that are met at a time.
  const block = (elements * rows <= 4 ? [8, 4, 2] : [4, 2]).find(fits) ?? 1;
  const tile: AttentionTile = {
    rows,
    columns: block,
    parts: elements,
    max: (value) => value,
    sum: (value) => value,
  };
  const clamp = (row: string) => streamedRows % block ? `min(${row}, ${streamedRows - 1}u)` : row;
  const owned = parts.products.map(([own]) => own);
  const { of, declarations } = boundTensors(parts, target, { input: unit, output: () => unit });
  const pairs = range(rows).flatMap((r) => range(block).map((j) => ({ r, j })));
  const passing = (tensor: string, j: number, e: number) =>
    `${tensor}Tile[${j * perRow}u + part * ${elements}u + ${e}u]`;
  const names = ["raw", "product"].slice(0, parts.products.length);
  const lines = [
    declarations,
    ...tensors.map((tensor) => `var<workgroup> ${tensor}Tile: array<${type}, ${block * perRow}>;`),
    team > 1 ? `var<workgroup> partial: array<f32, ${partialCount(block)}>;` : "",
    divides ? `var<workgroup> weights: array<f32, ${weightCount(block)}>;` : "",
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
      ...(divides ? [] : ownStatistics.map((name) => `let ${name}${r} = ${name}[ownStatistic${r}];`)),
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
    ...(divides
      ? []
      : streamedStatistics.flatMap((name) =>
        range(block).map((j) => `let ${name}${j} = ${name}[streamedStatistics + ${clamp(`(block + ${j}u)`)}];`)
      )),
    "workgroupBarrier();",
    ...multiply(),
    ...(divides ? weighTogether() : [...totals(), ...parts.weigh(tile)]),
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

  /** Products of the own rows and the block's rows; of a team's members each has those of its channels, as `partial`. */
  function multiply(): string[] {
    const add = (sum: string) =>
      unit === 4 ? `(${sum}.x + ${sum}.y) + (${sum}.z + ${sum}.w)` : unit === 2 ? `${sum}.x + ${sum}.y` : sum;
    // A streamed row is done before the next begins: only its sums take registers.
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
        ...range(rows).map((r) => {
          const sum = add(`${name}Sum${r}_${j}`), place = (p * pairs.length + r * block + j) * pitch;
          return team === 1 ? `let ${name}${r}_${j} = ${sum};` : `partial[${place}u + local] = ${sum};`;
        }),
      ]);
    });
    return [...sums, team > 1 ? "workgroupBarrier();\nlet firstOfTeam = local - part;" : ""];
  }

  /** The sum over a team of what its members have at a place of \`partial\`. */
  function overTeam(place: string): string {
    return range(team).map((member) => `partial[${place} + firstOfTeam + ${member}u]`).join(" + ");
  }

  /** Whole products and masked scores, of all pairs of rows. */
  function totals(): string[] {
    const all = names.flatMap((name, p) =>
      pairs.map(({ r, j }, i) => `let ${name}${r}_${j} = ${overTeam(`${(p * pairs.length + i) * pitch}u`)};`)
    );
    return [...team > 1 ? all : [], ...pairs.map(({ r, j }) => score(`${r}_${j}`, `row${r}`, `block + ${j}u`))];
  }

  /** Weights of all pairs of rows; each of the team makes those of some pairs. */
  function weighTogether(): string[] {
    const turns = range(Math.ceil(pairs.length / team)).flatMap((turn) => [
      team > pairs.length ? `if (part < ${pairs.length}u) {` : "{",
      `let pair = part + ${turn * team}u;`,
      `let row = firstRow + ${divide("pair", block)} * ${teams}u + ${divide("local", team)};`,
      `let streamedRow = block + ${modulo("pair", block)};`,
      ...names.map((name, p) => `let ${name}0_0 = ${overTeam(`(${p * pairs.length}u + pair) * ${pitch}u`)};`),
      score("0_0", "row", "streamedRow"),
      ...ownStatistics.map((name) =>
        `let ${name}0 = ${name}[(picture * ${heads}u + head) * ${ownRows}u + min(row, ${ownRows - 1}u)];`
      ),
      ...streamedStatistics.map((name) => `let ${name}0 = ${name}[streamedStatistics + ${clamp("streamedRow")}];`),
      ...parts.weigh({ ...tile, rows: 1, columns: 1 }),
      ...parts.gathers.map(({ weight }, g) =>
        `weights[${divide("local", team)} * ${weightPitch(block)}u + ${g * pairs.length}u + pair] = ${weight}0_0;`
      ),
      "}",
    ]);
    const read = parts.gathers.flatMap(({ weight }, g) =>
      pairs.map(({ r, j }, i) => `let ${weight}${r}_${j} = weights[firstWeight + ${g * pairs.length + i}u];`)
    );
    return [
      ...turns,
      "workgroupBarrier();",
      `let firstWeight = ${divide("local", team)} * ${weightPitch(block)}u;`,
      ...read,
    ];
  }

  function score(pair: string, row: string, streamedRow: string): string {
    const value = `raw${pair} * ${float(parts.scale)}`;
    const tests = [
      streamedRows % block ? `(${streamedRow} < ${streamedRows}u)` : "",
      parts.meets ? `(${parts.meets(row, streamedRow)})` : "",
    ].filter((test) => test);
    return `let score${pair} = ${tests.length ? `select(${maskedScore}, ${value}, ${tests.join(" & ")})` : value};`;
  }
}
