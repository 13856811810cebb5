import { type FinishingKernel, type Kernel, type KernelTarget, mostScratchBytes } from "../../graph/kernel.ts";
import {
  type AttentionParts,
  type AttentionTile,
  boundTensors,
  headVectors,
  keepGathered,
  maskedScore,
} from "./attention_parts.ts";
import { range } from "./register_tile.ts";
import { buffers, Stored } from "./storage.ts";
import { divide, float, grid, modulo } from "./wgsl.ts";

/** Numbers of own and gathered rows that an invocation holds at most, of a GPU's 255 registers: for more, several share their rows. */
const mostNumbers = 160;

const invocations = 64;
/** Numbers between two sums of a team's members: one more than there are invocations, so that what these read at once falls on different banks. */
const pitch = invocations + 1;

/** Fewest workgroups that keep a GPU busy: where fewer would run, none takes two rows. */
const fewestWorkgroups = 64;

/** Workgroups that fill a large card, streamed rows that are worth the beginning and the end of a share, and shares that are worth a second dispatch. */
const enoughWorkgroups = 256, fewestStreamed = 128, fewestShares = 4;

/** Workgroup memory with which four workgroups fit on a processor. */
const roomyBytes = 16384;

/** How a kernel's work is laid out. */
interface Sharing {
  /** Invocations that share rows. */
  readonly team: number;
  /** How many rows: each vector from workgroup memory serves as many multiply-adds for each of its numbers. */
  readonly rows: 1 | 2;
  /** Shares of the streamed rows that workgroups of their own do; a second dispatch adds what they have gathered. */
  readonly shares: number;
}

function sharing(parts: AttentionParts): Sharing {
  const { batch, heads, ownRows, streamedRows, size, products, gathers } = parts;
  const { unit } = headVectors(size), perRow = size / unit, numbers = 2 * unit * (products.length + gathers.length);
  let team = 1;
  while (perRow / team * numbers > mostNumbers && perRow % (team * 2) === 0) team *= 2;
  const groups = batch * heads * Math.ceil(ownRows * team / (2 * invocations));
  if (groups >= fewestWorkgroups) return { team, rows: 2, shares: 1 };
  // What depends on all streamed rows, as a softmax does, or on some that follow from the own ones, has no shares.
  const canShare = !parts.keep && !parts.result && !parts.begin && !parts.end;
  const possible = canShare
    ? Math.floor(
      Math.min(streamedRows / fewestStreamed, enoughWorkgroups / groups, mostScratchBytes / gatheredBytes(parts)),
    )
    : 1;
  const shares = possible < fewestShares ? 1 : possible;
  return { team, rows: groups * shares >= fewestWorkgroups ? 2 : 1, shares };
}

/** Bytes of all that is gathered, in f32. */
function gatheredBytes({ batch, heads, ownRows, size, gathers }: AttentionParts): number {
  return 4 * gathers.length * batch * ownRows * heads * size;
}

/**
 * Kernel for GPUs: an invocation, or a team of a few for a large head, owns a row or two in registers, and blocks of streamed rows pass by in
 * workgroup memory. Where weights do not depend on one another, as the gradients' do not, each of a team makes its part of them for all. Few own rows that meet many, as the keys
 * of a text meet a picture's queries, are met by several workgroups.
 */
export function attentionOnGpu(parts: AttentionParts, target: KernelTarget): Kernel {
  const { size, heads, ownRows, streamedRows } = parts;
  const { ownStatistics = [], streamedStatistics = [] } = parts;
  const { unit, type } = headVectors(size);
  const { team, rows, shares } = sharing(parts), perRow = size / unit, elements = perRow / team;
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
    4 * (tensors.length * block * size + partialCount(block) + weightCount(block)) <=
      Math.min(target.maxWorkgroupStorageBytes, block > 4 ? roomyBytes : Infinity);
  // Streamed rows that are met at a time: eight where they are little work, or a team meets at three barriers for them.
  const block = (elements * rows <= 4 || (team > 1 && !divides) ? [8, 4, 2] : [4, 2]).find(fits) ?? 1;
  const tile: AttentionTile = {
    rows,
    columns: block,
    parts: elements,
    max: (value) => value,
    sum: (value) => value,
  };
  const clamp = (row: string) => streamedRows % block ? `min(${row}, ${streamedRows - 1}u)` : row;
  const owned = parts.products.map(([own]) => own);
  const { of, inputs, outputs } = boundTensors(parts, target, { input: unit, output: () => unit });
  const shareRows = Math.ceil(streamedRows / shares / block) * block, shared = shares > 1;
  const gathered = new Stored("gathered", { dtype: "f32" }, unit, target),
    whole = parts.batch * ownRows * heads * perRow;
  const pairs = range(rows).flatMap((r) => range(block).map((j) => ({ r, j })));
  const passing = (tensor: string, j: number, e: number) =>
    `${tensor}Tile[${j * perRow}u + part * ${elements}u + ${e}u]`;
  const names = ["raw", "product"].slice(0, parts.products.length);
  const lines = [
    buffers(inputs, shared ? [gathered] : outputs),
    ...tensors.map((tensor) => `var<workgroup> ${tensor}Tile: array<${type}, ${block * perRow}>;`),
    team > 1 ? `var<workgroup> partial: array<f32, ${partialCount(block)}>;` : "",
    divides ? `var<workgroup> weights: array<f32, ${weightCount(block)}>;` : "",
    `@compute @workgroup_size(${invocations})`,
    "fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {",
    `let firstRow = group.x * ${rowsPerGroup}u;`,
    "let head = group.y;",
    `let picture = ${divide("group.z", shares)};`,
    shared ? `let begin = ${modulo("group.z", shares)} * ${shareRows}u;` : "",
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
    `for (var block = ${shared ? "begin" : parts.begin?.(block) ?? "0u"}; block < ${
      shared ? `min(begin + ${shareRows}u, ${streamedRows}u)` : parts.end?.(rowsPerGroup) ?? `${streamedRows}u`
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
      ...parts.gathers.flatMap(({ output }, g) =>
        range(elements).map((e) => {
          const value = `${output}${r}_${e}${parts.factor ? ` * ${parts.factor}${r}` : ""}`, at = `place${r} + ${e}u`;
          return shared
            ? gathered.store(
              `(${modulo("group.z", shares)} * ${parts.gathers.length}u + ${g}u) * ${whole}u + ${at}`,
              value,
            )
            : of(output).store(at, value);
        })
      ),
      parts.result ? `if (part == 0u) { ${parts.result.name}[ownStatistic${r}] = ${parts.result.value(r)}; }` : "",
      "}",
    ]),
    "}",
  ];
  return {
    workgroups: [Math.ceil(ownRows / rowsPerGroup), heads, parts.batch * shares],
    wgsl: lines.filter((line) => line).join("\n"),
    ...shared ? { finish: addingShares() } : {},
  };

  /** The second dispatch: an invocation adds what the shares have gathered for one vector of each output, in their order. */
  function addingShares(): FinishingKernel {
    const places = Object.keys(parts.tensors), lines = grid(whole, target);
    const sums = parts.gathers.map(({ output }, g) => {
      const all = range(shares).map((share) => gathered.load(`${(share * parts.gathers.length + g) * whole}u + i`));
      return of(output).store("i", all.join(" + "));
    });
    return {
      workgroups: lines.workgroups,
      scratchBytes: Math.ceil(shares * gatheredBytes(parts) / 16) * 16,
      firstBinds: inputs.map(({ name }) => places.indexOf(name)),
      binds: outputs.map(({ name }) => places.indexOf(name)),
      wgsl: `${buffers([gathered], outputs)}
${lines.attribute}
fn main(${lines.parameters}) {
${lines.index}
if (i >= ${whole}u) { return; }
${sums.join("\n")}
}
`,
    };
  }

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
