import type { Kernel, KernelTarget } from "../../graph/kernel.ts";
import { type AttentionParts, type AttentionTile, boundTensors, maskedScore } from "./attention_parts.ts";
import { range } from "./register_tile.ts";
import { divide, float, modulo } from "./wgsl.ts";

/** Streamed rows that are met at a time. Each accumulator goes to memory and back once for them all. */
const block = 4;

/** Fewest meetings of own and streamed rows that repay compiling so long a text. */
const fewestMeetings = 128 * 128;

/** Accumulators of one output that a lane has at most: twice as many run a quarter faster and compile nearly twice as long. */
const mostAccumulators = (meetings: number) => meetings < 512 * 512 ? 160 : 320;

/** Own rows of each lane, or 0 where these sizes are left to `attentionOnCpu`. */
function rowsPerLane({ size, ownRows, streamedRows }: AttentionParts, lanes: number): number {
  const meetings = ownRows * streamedRows;
  if (size % 4 !== 0 || meetings < fewestMeetings) return 0;
  const most = Math.min(4, Math.floor(mostAccumulators(meetings) / size));
  return most < 2 ? 0 : Math.min(most, Math.ceil(ownRows / lanes));
}

/**
 * Kernel for CPUs and large attentions: a lane owns rows, with their accumulators in registers, and streamed rows are loaded by the lanes
 * together and broadcast. Lanes exchange nothing else, for weights and statistics are of own rows. Null where `attentionOnCpu` does better.
 *
 * Own rows are read and written in loops by way of arrays: a load or store becomes a branch for each lane, and their number in the text
 * decides how long a kernel compiles. Elsewhere the arrays' places are plain constants, without the `u` that makes a size of them (see
 * `shareSizes`): a place that is not known costs a gather.
 */
export function attentionByLanes(parts: AttentionParts, target: KernelTarget): Kernel | null {
  const { size, heads, ownRows, streamedRows, ownStatistics = [], streamedStatistics = [] } = parts;
  const lanes = target.subgroupSize, rows = rowsPerLane(parts, lanes);
  if (rows === 0 || lanes % block !== 0) return null;
  const quads = size / 4, count = rows * lanes;
  const tile: AttentionTile = { rows, columns: block, parts: size, max: (value) => value, sum: (value) => value };
  const { of, declarations } = boundTensors(parts, target, { input: 4, output: () => 4 });
  const owned = parts.products.map(([own]) => own);
  const streamed = [
    ...new Set([...parts.products.map(([, tensor]) => tensor), ...parts.gathers.map(({ tensor }) => tensor)]),
  ];
  const clamp = (row: string) => streamedRows % block ? `min(${row}, ${streamedRows - 1}u)` : row;
  const loop = (index: string, from: string, to: string, by: number) =>
    `for (var ${index} = ${from}; ${index} < select(${to}, 0u, lane > ${lanes}u); ${index} += ${by}u) {`;
  const ownRow = (r: string) => `firstRow + ${r} * ${lanes}u + lane`;
  /** Where vector `i` of the lane's own rows lies in a tensor. */
  const ownPlace = (i: string) =>
    `(ownBase + min(${ownRow(divide(i, quads, rows * quads))}, ${ownRows - 1}u)) * ${
      heads * quads
    }u + head * ${quads}u + ${modulo(i, quads, rows * quads)}`;
  /** Channel `channel` of row `c` of the block, from the lane that loaded it. */
  const passing = (tensor: string, c: number, channel: number) => {
    const vector = (channel >> 2) * block + c;
    return `subgroupBroadcast(${tensor}${Math.floor(vector / lanes)}.${"xyzw"[channel % 4]}, ${vector % lanes}u)`;
  };
  const lines = [
    declarations,
    `@compute @workgroup_size(${lanes})`,
    "fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {",
    `let firstRow = group.x * ${count}u;`,
    "let head = group.y;",
    "let picture = group.z;",
    `let ownBase = picture * ${ownRows}u;`,
    `let streamedBase = picture * ${streamedRows}u;`,
    `let ownStatistics = (picture * ${heads}u + head) * ${ownRows}u;`,
    `let streamedStatistics = (picture * ${heads}u + head) * ${streamedRows}u;`,
    ...owned.map((tensor) => `var ${tensor}Own: array<vec4f, ${rows * quads}>;`),
    loop("i", "0u", `${rows * quads}u`, 1),
    `let place = ${ownPlace("i")};`,
    ...owned.map((tensor) => `${tensor}Own[i] = ${of(tensor).load("place")};`),
    "}",
    ...range(rows).map((r) => `let row${r} = ${ownRow(`${r}u`)};`),
    ...ownStatistics.flatMap((name) =>
      range(rows).map((r) => `let ${name}${r} = ${name}[ownStatistics + min(row${r}, ${ownRows - 1}u)];`)
    ),
    ...parts.gathers.flatMap(({ output }) =>
      range(rows).flatMap((r) => range(size).map((channel) => `var ${output}${r}_${channel} = 0.0;`))
    ),
    ...(parts.before?.(tile) ?? []),
    loop("block", parts.begin?.(block) ?? "0u", parts.end?.(count) ?? `${streamedRows}u`, block),
    // Where the number of vectors is odd, some lanes' last load lies beyond the head: nobody asks for it.
    `let streamedPlace = (streamedBase + ${clamp(`(block + ${modulo("lane", block)})`)}) * ${
      heads * quads
    }u + head * ${quads}u + ${divide("lane", block)};`,
    ...streamed.flatMap((tensor) =>
      range(Math.ceil(block * quads / lanes)).map((i) =>
        `let ${tensor}${i} = ${of(tensor).load(`streamedPlace + ${i * lanes / block}u`)};`
      )
    ),
    ...streamedStatistics.flatMap((name) => [
      `let ${name}Block = ${name}[streamedStatistics + ${clamp(`(block + min(lane, ${block - 1}u))`)}];`,
      ...range(block).map((c) => `let ${name}${c} = subgroupBroadcast(${name}Block, ${c}u);`),
    ]),
    ...multiply(),
    ...parts.weigh(tile),
    ...gather(),
    "}",
    ...(parts.after?.(tile) ?? []),
    ...store(),
    "}",
  ];
  return { workgroups: [Math.ceil(ownRows / count), heads, parts.batch], wgsl: lines.join("\n") };

  /** Products of own and streamed rows over the channels, and masked scores. */
  function multiply(): string[] {
    const names = ["raw", "product"].slice(0, parts.products.length);
    const pairs = range(rows).flatMap((r) => range(block).map((c) => [r, c] as const));
    const sums = names.flatMap((name, p) => {
      const [own, tensor] = parts.products[p];
      return [
        ...pairs.map(([r, c]) => `var ${name}${r}_${c} = 0.0;`),
        ...range(size).flatMap((channel) => [
          ...channel % 4
            ? []
            : range(rows).map((r) => `let ${own}${r}_${channel >> 2} = ${own}Own[${r * quads + (channel >> 2)}];`),
          ...range(block).flatMap((c) => [
            `let ${name}Met${channel}_${c} = ${passing(tensor, c, channel)};`,
            ...range(rows).map((r) => {
              const sum = `${name}${r}_${c}`, mine = `${own}${r}_${channel >> 2}.${"xyzw"[channel % 4]}`;
              return `${sum} = fma(${mine}, ${name}Met${channel}_${c}, ${sum});`;
            }),
          ]),
        ]),
      ];
    });
    const scores = pairs.map(([r, c]) => {
      const score = `raw${r}_${c} * ${float(parts.scale)}`;
      const tests = [
        streamedRows % block ? `(block + ${c}u < ${streamedRows}u)` : "",
        parts.meets ? `(${parts.meets(`row${r}`, `block + ${c}u`)})` : "",
      ].filter((test) => test);
      return `let score${r}_${c} = ${tests.length ? `select(${maskedScore}, ${score}, ${tests.join(" & ")})` : score};`;
    });
    return [...sums, ...scores];
  }

  /** The block's rows times their weights. */
  function gather(): string[] {
    return parts.gathers.flatMap(({ output, weight, tensor }) =>
      range(size).flatMap((channel) => [
        ...range(block).map((c) => `let ${output}Met${channel}_${c} = ${passing(tensor, c, channel)};`),
        ...range(rows).map((r) => {
          const sum = `${output}${r}_${channel}`, kept = parts.keep ? `${sum} * ${parts.keep}${r}` : sum;
          const all = range(block).reduce(
            (rest, c) => `fma(${weight}${r}_${c}, ${output}Met${channel}_${c}, ${rest})`,
            kept,
          );
          return `${sum} = ${all};`;
        }),
      ])
    );
  }

  /** By way of the own rows' arrays, which are not needed any more, so that the text has one store for each output. */
  function store(): string[] {
    const { factor, result } = parts;
    return [
      ...parts.gathers.flatMap(({ output }, g) =>
        range(rows).flatMap((r) =>
          range(quads).map((quad) => {
            const sums = range(4).map((i) => `${output}${r}_${quad * 4 + i}`);
            return `${owned[g]}Own[${r * quads + quad}] = vec4f(${sums.join(", ")})${
              factor ? ` * ${factor}${r}` : ""
            };`;
          })
        )
      ),
      loop("i", "0u", `${rows * quads}u`, 1),
      `if (${ownRow(divide("i", quads, rows * quads))} < ${ownRows}u) {`,
      `let place = ${ownPlace("i")};`,
      ...parts.gathers.map(({ output }, g) => of(output).store("place", `${owned[g]}Own[i]`)),
      "}",
      "}",
      ...result
        ? range(rows).map((r) =>
          `if (row${r} < ${ownRows}u) { ${result.name}[ownStatistics + row${r}] = ${result.value(r)}; }`
        )
        : [],
    ];
  }
}
