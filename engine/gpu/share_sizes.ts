import type { Kernel } from "../graph/kernel.ts";

/** Smaller numbers are steps, lanes and vector places, which kernels of one structure have in common; how far is shifted is not one of these. */
const smallestShared = 3;

/** Tables are made as long as a multiple of this, so that the text does not tell how many runs they are for. */
const tableStep = 8;

/**
 * Turns the sizes in a kernel's `main` into a uniform, so that kernels which differ in sizes alone have one WGSL and are compiled once.
 *
 * For CPU adapters, where LLVM takes a tenth of a second a kernel and a training step has hundreds: sizes as constants gain nothing there, because loads
 * cost far more than address arithmetic. Not for GPUs, whose compilers use the constants.
 *
 * Shared are u32 literals in `main`, module constants that `main` alone uses, the factors that divide in f32 (see `divide`), and the tables of
 * `stackKernel`; not divisors, lane numbers and workgroup sizes, which must be constants to WGSL or are much faster as such.
 */
export function shareSizes(kernel: Kernel): Kernel {
  const start = kernel.wgsl.indexOf("fn main(");
  if (kernel.sizes || start < 0) return kernel;
  let head = kernel.wgsl.slice(0, start), body = kernel.wgsl.slice(start);
  for (const [line, name, value] of head.matchAll(/^const (\w+) = (\d+u);\n/gm)) {
    const uses = new RegExp(`\\b${name}\\b`, "g");
    if (head.match(uses)!.length > 1) continue;
    head = head.replace(line, "");
    body = body.replace(uses, value);
  }
  const tables = new Map<string, number[]>();
  head = head.replace(/^const (begins_\w+) = array<u32, \d+>\(([^)]*)\);\n/gm, (_, name, values) => {
    tables.set(name, values.split(", ").map((value: string) => parseInt(value)));
    return "";
  });
  const sizes: number[] = [], reads: string[] = [];
  /** Each place has a size of its own: two that are equal by chance must not make another text. */
  const share = (value: number, read: (word: string) => string) => {
    const i = sizes.push(value) - 1;
    reads.push(`let size_${i} = ${read(`sizes[${i >> 2}].${"xyzw"[i & 3]}`)};`);
    return `size_${i}`;
  };
  const literal =
    /(subgroupBroadcast\([^,()]*, |\/ |% |array<[^>]*, |>> )?\b(\d+)u\b|(?<=\+ 0\.5\) \* )(\d+\.\d+(?:e-\d+)?)f/g;
  const shared = body.replace(literal, (text, kept, digits, factor) => {
    if (factor !== undefined) return share(bitsOf(Number(factor)), (word) => `bitcast<f32>(${word})`);
    const value = Number(digits);
    if (kept === ">> ") return `>> ${share(value, (word) => word)}`;
    return kept !== undefined || value < smallestShared ? text : share(value, (word) => word);
  });
  if (sizes.length + tables.size === 0) return kernel;
  const { text, rows } = placedTables(shared, tables, Math.ceil(sizes.length / 4));
  const all = tables.size ? [...sizes, ...Array(rows.from * 4 - sizes.length).fill(0), ...rows.words] : sizes;
  const binding = (head.match(/@binding\(/g) ?? []).length;
  const open = text.indexOf("{\n") + 2;
  return {
    workgroups: kernel.workgroups,
    sizes: all,
    wgsl: `${
      declared(head, `@group(0) @binding(${binding}) var<uniform> sizes: array<vec4u, ${Math.ceil(all.length / 4)}>;`)
    }${text.slice(0, open)}${reads.join("\n")}\n${text.slice(open)}`,
  };
}

/** A number's bits in f32. */
function bitsOf(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0];
}

/** Tables as rows of four, one column each, from row `from` on, and the text that reads them there. */
function placedTables(text: string, tables: ReadonlyMap<string, readonly number[]>, from: number) {
  const length = Math.ceil(Math.max(0, ...[...tables.values()].map((table) => table.length)) / tableStep) * tableStep;
  const words = new Array<number>(Math.ceil(tables.size / 4) * length * 4).fill(0);
  let placed = text;
  for (const [k, [name, values]] of [...tables].entries()) {
    const row = (k >> 2) * length;
    values.forEach((value, run) => words[4 * (row + run) + (k & 3)] = value);
    placed = placed.replaceAll(`${name}[stack_run]`, `sizes[${from + row}u + stack_run].${"xyzw"[k & 3]}`);
  }
  return { text: placed, rows: { from, words } };
}

/** `enable` lines must come first, so the declaration stands before the first binding. */
function declared(head: string, declaration: string): string {
  const at = Math.max(0, head.indexOf("@group(0)"));
  return `${head.slice(0, at)}${declaration}\n${head.slice(at)}`;
}
