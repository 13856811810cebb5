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
import { isPacked } from "./storage.ts";
import { divide, float, modulo } from "./wgsl.ts";

/**
 * Kernel for CPUs: a subgroup is a workgroup and owns a few rows. It multiplies them with a block of streamed rows, a lane having a row
 * of the block, and then gathers the block's rows by the weights, a lane having a channel.
 *
 * Everything runs in loops of few instructions, and no memory is shared. On a CPU a load or store becomes a branch for each lane, and it is
 * their number in the text that decides how long a kernel compiles. The loops' bounds are no constants to the compiler, which would
 * unroll them.
 */
export function attentionOnCpu(parts: AttentionParts, target: KernelTarget): Kernel {
  const { size, heads, ownRows, streamedRows } = parts;
  const { ownStatistics = [], streamedStatistics = [] } = parts;
  const lanes = target.subgroupSize, rows = Math.min(lanes, 8, ownRows);
  // Wide blocks run a fifth faster and compile twice as long, which only pays where there is much to do.
  const columns = ownRows * streamedRows >= 128 * 128 ? 2 : 1;
  const { unit } = headVectors(size);
  const vectors = Math.ceil(size / lanes), block = lanes * columns, pitch = heads * size;
  const tile: AttentionTile = {
    rows,
    columns,
    parts: vectors,
    max: (value) => `subgroupMax(${value})`,
    sum: (value) => `subgroupAdd(${value})`,
  };
  const clamp = (row: string) => streamedRows % block ? `min(${row}, ${streamedRows - 1}u)` : row;
  const loop = (index: string, from: string, to: string, by: number) =>
    `for (var ${index} = ${from}; ${index} < select(${to}, 0u, lane > ${lanes}u); ${index} += ${by}u) {`;
  // Lanes own single channels of an output; what can only be stored in pairs is stored by every other lane.
  const inPairs = (name: string) => isPacked(parts.tensors[name], target);
  const { of, declarations } = boundTensors(parts, target, {
    input: unit,
    output: (name) => inPairs(name) ? 2 : 1,
  });
  const lines = [
    declarations,
    `@compute @workgroup_size(${lanes})`,
    "fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {",
    `let firstRow = group.x * ${rows}u;`,
    "let head = group.y;",
    "let picture = group.z;",
    `let laneRow = min(firstRow + min(lane, ${rows - 1}u), ${ownRows - 1}u);`,
    `let ownBase = (picture * ${ownRows * heads}u + head) * ${size}u;`,
    `let streamedBase = (picture * ${streamedRows * heads}u + head) * ${size}u;`,
    `let ownStatistics = (picture * ${heads}u + head) * ${ownRows}u;`,
    `let streamedStatistics = (picture * ${heads}u + head) * ${streamedRows}u;`,
    ...range(vectors).map((v) =>
      `let channel${v} = ${v * lanes}u + ${(v + 1) * lanes > size ? `min(lane, ${size - 1 - v * lanes}u)` : "lane"};`
    ),
    ...ownStatistics.flatMap((name) => [
      `let ${name}OfLane = ${name}[ownStatistics + laneRow];`,
      ...range(rows).map((r) => `let ${name}${r} = subgroupBroadcast(${name}OfLane, ${r}u);`),
    ]),
    ...parts.gathers.flatMap(({ output }) =>
      range(rows).flatMap((r) => range(vectors).map((v) => `var ${output}${r}_${v} = 0.0;`))
    ),
    ...(parts.before?.(tile) ?? []),
    loop("block", parts.begin?.(block) ?? "0u", parts.end?.(rows) ?? `${streamedRows}u`, block),
    ...range(columns).flatMap((c) => [
      `let column${c} = block + lane + ${c * lanes}u;`,
      `let clamped${c} = ${clamp(`column${c}`)};`,
      ...streamedStatistics.map((name) => `let ${name}${c} = ${name}[streamedStatistics + clamped${c}];`),
    ]),
    ...multiply(),
    ...parts.weigh(tile),
    ...keepGathered(parts, tile),
    loop("j", "0u", `${lanes}u`, 1),
    ...gather(),
    "}",
    "}",
    ...(parts.after?.(tile) ?? []),
    ...store(),
    "}",
  ];
  return { workgroups: [Math.ceil(ownRows / rows), heads, parts.batch], wgsl: lines.join("\n") };

  /** Products and masked scores: step by step along the channels, each own row is broadcast to the lanes' streamed rows. */
  function multiply(): string[] {
    const names = ["raw", "product"].slice(0, parts.products.length);
    const pairs = range(rows).flatMap((r) => range(columns).map((c) => [r, c] as const));
    const products = parts.products.flatMap(([own, streamed], p) => [
      `let own${p} = ${of(own).load("ownVector")};`,
      ...range(columns).map((c) => `let streamed${p}_${c} = ${of(streamed).load(`vector${c}`)};`),
      ...range(rows).flatMap((r) => [
        `let row${p}_${r} = subgroupBroadcast(own${p}, ${r}u);`,
        ...range(columns).flatMap((c) =>
          (unit === 1 ? [""] : ["x", "y", "z", "w"].slice(0, unit).map((component) => `.${component}`))
            .map((component) => {
              const sum = `${names[p]}${r}_${c}`;
              return `${sum} = fma(row${p}_${r}${component}, streamed${p}_${c}${component}, ${sum});`;
            })
        ),
      ]),
    ]);
    const scores = pairs.map(([r, c]) => {
      const score = `raw${r}_${c} * ${float(parts.scale)}`;
      const tests = [
        streamedRows % block ? `(column${c} < ${streamedRows}u)` : "",
        parts.meets ? `(${parts.meets(`firstRow + ${r}u`, `column${c}`)})` : "",
      ].filter((test) => test);
      return `let score${r}_${c} = ${tests.length ? `select(${maskedScore}, ${score}, ${tests.join(" & ")})` : score};`;
    });
    return [
      ...names.flatMap((name) => pairs.map(([r, c]) => `var ${name}${r}_${c} = 0.0;`)),
      loop("step", "0u", `${size / unit}u`, 1),
      `let ownVector = ${divide(`laneRow * ${pitch}u + ownBase`, unit)} + step;`,
      ...range(columns).map((c) =>
        `let vector${c} = ${divide(`clamped${c} * ${pitch}u + streamedBase`, unit)} + step;`
      ),
      ...products,
      "}",
      ...scores,
    ];
  }

  /** Row j of each lane's columns times its weights. */
  function gather(): string[] {
    const element = (tensor: string, at: string) =>
      of(tensor).load(divide(at, unit)) + (unit === 1 ? "" : `[${modulo(at, unit)}]`);
    return range(columns).flatMap((c) => [
      `let place${c} = ${clamp(`(block + ${c * lanes}u + j)`)} * ${pitch}u + streamedBase;`,
      ...parts.gathers.flatMap(({ output, weight, tensor }) => [
        ...range(vectors).map((v) => `let ${output}Value${c}_${v} = ${element(tensor, `place${c} + channel${v}`)};`),
        ...range(rows).flatMap((r) => [
          `let ${output}Weight${c}_${r} = subgroupShuffle(${weight}${r}_${c}, j);`,
          ...range(vectors).map((v) => {
            const sum = `${output}${r}_${v}`;
            return `${sum} = fma(${output}Weight${c}_${r}, ${output}Value${c}_${v}, ${sum});`;
          }),
        ]),
      ]),
    ]);
  }

  /** A loop over the rows, so that the text has one store for each vector. */
  function store(): string[] {
    const pick = (value: (r: number) => string, index: string) =>
      range(rows - 1).reduceRight((rest, r) => `select(${rest}, ${value(r)}, ${index} == ${r}u)`, value(rows - 1));
    const stores = parts.gathers.flatMap(({ output }) =>
      range(vectors).map((v) => {
        const factor = parts.factor ? ` * ${pick((r) => `${parts.factor}${r}`, "r")}` : "";
        const value = `${pick((r) => `${output}${r}_${v}`, "r")}${factor}`, name = `${output}Stored${v}`;
        const isOwn = (v + 1) * lanes > size ? `lane < ${size - v * lanes}u` : "";
        if (!inPairs(output)) {
          const line = of(output).store(`place + channel${v}`, value);
          return isOwn ? `if (${isOwn}) { ${line} }` : line;
        }
        const pair = of(output).store(`(place + channel${v}) >> 1u`, `vec2f(${name}, ${name}Beside)`);
        return `let ${name} = ${value};
let ${name}Beside = subgroupShuffle(${name}, lane | 1u);
if (${["(lane & 1u) == 0u", isOwn].filter((test) => test).join(" && ")}) { ${pair} }`;
      })
    );
    const { result } = parts;
    return [
      loop("r", "0u", ownRows % rows ? `min(${rows}u, ${ownRows}u - firstRow)` : `${rows}u`, 1),
      `let place = (firstRow + r) * ${pitch}u + ownBase;`,
      ...stores,
      "}",
      ...(result
        ? [
          `let statistic = ${pick(result.value, "lane")};`,
          `if (lane < ${rows}u && firstRow + lane < ${ownRows}u) { ${result.name}[ownStatistics + laneRow] = statistic; }`,
        ]
        : []),
    ];
  }
}
