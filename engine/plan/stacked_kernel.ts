import type { Kernel, KernelTarget } from "../graph/kernel.ts";

/**
 * A kernel that runs several times in one dispatch, each time on other places of the same buffers: one run after another along z.
 *
 * Every buffer that runs read or write at different places is indexed from where the run's own place begins; else the kernel is as it was, so each run
 * computes what it would alone, to the bit. For a CPU adapter all buffers are, from tables that `shareSizes` takes out: the text is the same for any number
 * of runs at any places, one run too, and is compiled once.
 *
 * @param kernel One run's. Each module-level name of a buffer must be used for it alone, and buffers must be indexed by `name[…]`.
 * @param offsets For each binding, for each run, how many of the binding's elements (see `elementBytes`) lie before the run's place.
 */
export function stackKernel(kernel: Kernel, offsets: readonly (readonly number[])[], { cpu }: KernelTarget): Kernel {
  const runs = offsets[0].length, [x, y, z] = kernel.workgroups, start = kernel.wgsl.search(mainHead);
  let head = kernel.wgsl.slice(0, start);
  const [opening, parameters] = mainHead.exec(kernel.wgsl)!;
  let body = kernel.wgsl.slice(start + opening.length);
  const setup: string[] = [], declared: string[] = [];
  for (const [place, { name }] of bindingsOf(kernel).entries()) {
    const values = offsets[place], step = cpu ? null : equalStep(values);
    if (step === 0) continue;
    if (step === null) {
      declared.push(`const begins_${name} = array<u32, ${runs}>(${values.map((value) => `${value}u`).join(", ")});`);
    }
    declared.push(`var<private> begin_${name}: u32;`);
    setup.push(`begin_${name} = ${step === null ? `begins_${name}[stack_run]` : `stack_run * ${step}u`};`);
    head = indexedFrom(head, name);
    body = indexedFrom(body, name);
  }
  const run = z === 1 ? "stack_group.z" : `stack_group.z / ${z}u`;
  const own = z === 1 ? "0u" : `stack_group.z - stack_run * ${z}u`;
  // Workgroups have one layer, so along z an invocation's place is its workgroup's.
  const renewed = [...parameters.matchAll(/@builtin\((workgroup_id|global_invocation_id)\) (\w+): vec3u/g)].map(
    ([, builtin, name]) =>
      builtin === "workgroup_id"
        ? `let ${name} = vec3u(stack_group.xy, ${own});`
        : `let ${name} = vec3u(stack_invocation.xy, ${own});`,
  );
  const others = parameters.replace(/@builtin\(workgroup_id\) \w+: vec3u(, )?/, "")
    .replace(/@builtin\(global_invocation_id\) \w+:/, "@builtin(global_invocation_id) stack_invocation:");
  const lines = [`let stack_run = ${run};`, ...setup, ...renewed];
  return {
    workgroups: [x, y, z * runs],
    wgsl: `${head}${declared.join("\n")}
${
      opening.replace(
        `(${parameters})`,
        `(${["@builtin(workgroup_id) stack_group: vec3u", others].filter((text) => text).join(", ")})`,
      )
    }${lines.join("\n")}
${body}`,
  };
}

/** Whether a kernel can be stacked: it has no sizes of its own, and no value that tells of the whole dispatch. */
export function canStack({ wgsl, sizes }: Kernel): boolean {
  const main = mainHead.exec(wgsl);
  return !sizes && main !== null && !main[1].includes("num_workgroups") &&
    !/arrayLength|&\w/.test(wgsl.replace(/&&/g, ""));
}

/** Bytes of what one index steps over, for each binding of a kernel. */
export function elementBytes(kernel: Kernel): number[] {
  return bindingsOf(kernel).map(({ type }) => {
    const [, width = "1", scalar] = /^(?:vec(\d)<?)?(f32|u32|i32|f16|[fuih])>?$/.exec(type)!;
    return Number(width) * (scalar === "f16" || scalar === "h" ? 2 : 4);
  });
}

const mainHead = /@compute @workgroup_size\([^)]*\)\s*fn main\(([^{]*)\) \{\n/;

function bindingsOf({ wgsl }: Kernel): { name: string; type: string }[] {
  return [...wgsl.matchAll(/^@group\(0\) @binding\(\d+\) var<storage, \w+> (\w+): array<(.+)>;$/gm)].map(
    ([, name, type]) => ({ name, type }),
  );
}

/** The step between numbers that begin at 0 and are in equal steps; null of others. */
function equalStep(values: readonly number[]): number | null {
  const [first, second = 0] = values;
  return values.every((value, run) => value === first + run * second) && first === 0 ? second : null;
}

/** The text with each `name[index]` as `name[begin_name + (index)]`. */
function indexedFrom(text: string, name: string): string {
  const parts = text.split(new RegExp(`(?<![.\\w])${name}\\[`));
  // From behind, so that an index inside of an index is done when its outer one is closed.
  return parts.reduceRight((rest, part) => `${part}${name}[begin_${name} + (${closed(rest)}`);
}

/** A text that begins inside of brackets, with `)` before the one that closes them. */
function closed(text: string): string {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === "[") depth++;
    else if (text[at] === "]" && depth-- === 0) return `${text.slice(0, at)})${text.slice(at)}`;
  }
  throw new SyntaxError(`Cannot stack a kernel: the bracket before this is not closed:\n${text}`);
}
