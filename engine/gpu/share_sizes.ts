import type { Kernel } from "../graph/kernel.ts";

/** Smaller numbers are steps, lanes and vector places, which kernels of one structure have in common. */
const smallestShared = 3;

/**
 * Turns the sizes in a kernel's `main` into a uniform, so that kernels which differ in sizes alone have one WGSL and are compiled once.
 *
 * For CPU adapters, where LLVM takes a tenth of a second a kernel and a training step has hundreds: sizes as constants gain nothing there, because loads
 * cost far more than address arithmetic. Not for GPUs, whose compilers use the constants.
 *
 * Shared are u32 literals in `main` and module constants that `main` alone uses; not divisors, lane numbers and workgroup sizes, which must be
 * constants to WGSL or are much faster as such.
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
  const sizes: number[] = [];
  const shared = body.replace(
    /(subgroupBroadcast\([^,()]*, |\/ |% |array<[^>]*, )?\b(\d+)u\b/g,
    (text, kept, digits) => {
      const value = Number(digits);
      if (kept !== undefined || value < smallestShared) return text;
      // Each place has a size of its own: two that are equal by chance must not make another text.
      return `size_${sizes.push(value) - 1}`;
    },
  );
  if (sizes.length === 0) return kernel;
  const binding = (head.match(/@binding\(/g) ?? []).length;
  const reads = sizes.map((_, i) => `let size_${i} = sizes[${i >> 2}].${"xyzw"[i & 3]};`).join("\n");
  const open = shared.indexOf("{\n") + 2;
  return {
    workgroups: kernel.workgroups,
    sizes,
    wgsl: `${
      declared(head, `@group(0) @binding(${binding}) var<uniform> sizes: array<vec4u, ${Math.ceil(sizes.length / 4)}>;`)
    }${shared.slice(0, open)}${reads}\n${shared.slice(open)}`,
  };
}

/** `enable` lines must come first, so the declaration stands before the first binding. */
function declared(head: string, declaration: string): string {
  const at = Math.max(0, head.indexOf("@group(0)"));
  return `${head.slice(0, at)}${declaration}\n${head.slice(at)}`;
}
