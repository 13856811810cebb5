import {
  type DType,
  elementCount,
  type FloatFormat,
  type ReadFormat,
  type Shape,
  stridesOf,
  type TensorType,
} from "../../graph/types.ts";
import type { KernelTarget } from "../../graph/kernel.ts";

/** A number as a WGSL f32 literal. */
export function float(value: number): string {
  if (!Number.isFinite(value)) throw new RangeError(`Cannot write ${value} as a WGSL number: it is not finite`);
  const text = String(Math.fround(value));
  return /[.e]/.test(text) ? text.replace("e+", "e") + "f" : `${text}.0f`;
}

/** One binding's declaration: `inputs` are read-only, everything else is read_write. */
export function binding(at: number, name: string, type: string, access: "read" | "read_write"): string {
  return `@group(0) @binding(${at}) var<storage, ${access}> ${name}: array<${type}>;`;
}

/** Workgroups, and WGSL that gives each invocation its number `i`, for `count` invocations in a row. */
export function grid(count: number, target: KernelTarget, workgroupSize = 64): {
  workgroups: [number, number, number];
  attribute: string;
  parameters: string;
  index: string;
} {
  const groups = Math.ceil(count / workgroupSize);
  const x = Math.min(groups, target.maxWorkgroupsPerDimension), y = Math.ceil(groups / x);
  return {
    workgroups: [x, y, 1],
    attribute: `@compute @workgroup_size(${workgroupSize})`,
    parameters: "@builtin(global_invocation_id) at: vec3u",
    index: y === 1 ? "let i = at.x;" : `let i = at.x + at.y * ${x * workgroupSize}u;`,
  };
}

/** Numbers below this are divided in f32: (i + ½) / n is further from the next whole number than the product's rounding error. */
const exactBelow = 2 ** 21;

/**
 * `i / n`, as a shift where n is a power of two, and in f32 where `i` is small enough: CPUs have no vector division of integers, and naga
 * turns it into a function call.
 *
 * @param below What `i` is known to be below.
 */
export function divide(expression: string, n: number, below = Infinity): string {
  if (n === 1) return `(${expression})`;
  if (Number.isInteger(Math.log2(n))) return `((${expression}) >> ${Math.log2(n)}u)`;
  return below <= exactBelow ? `u32((f32(${expression}) + 0.5) * ${float(1 / n)})` : `((${expression}) / ${n}u)`;
}

/** `i % n`, as a mask where n is a power of two, else by `divide`. */
export function modulo(expression: string, n: number, below = Infinity): string {
  if (n === 1) return "0u";
  if (Number.isInteger(Math.log2(n))) return `((${expression}) & ${n - 1}u)`;
  return below <= exactBelow
    ? `((${expression}) - ${divide(expression, n, below)} * ${n}u)`
    : `((${expression}) % ${n}u)`;
}

/** The element of a tensor of shape `from` that element `i` of the shape `to` reads, when `from` broadcasts to `to`. */
export function broadcastIndex(i: string, from: Shape, to: Shape): string {
  if (elementCount(from) === elementCount(to)) return i;
  if (elementCount(from) === 1) return "0u";
  const strides = stridesOf(to), own = stridesOf(from), shift = to.length - from.length, below = elementCount(to);
  // Axes that lie side by side and are kept side by side are one axis: fewer divisions.
  const terms: string[] = [];
  let axis = 0;
  while (axis < from.length) {
    if (from[axis] === 1) {
      axis++;
      continue;
    }
    let last = axis;
    while (last + 1 < from.length && from[last + 1] !== 1) last++;
    const size = elementCount(from.slice(axis, last + 1));
    const outermost = elementCount(to.slice(0, axis + shift)) === 1;
    const quotient = divide(i, strides[last + shift], below);
    const coordinate = outermost ? quotient : modulo(quotient, size, below);
    terms.push(own[last] === 1 ? coordinate : `${coordinate} * ${own[last]}u`);
    axis = last + 1;
  }
  return terms.join(" + ") || "0u";
}

/** `f32` or `vec4<f32>`: the type of `width` elements side by side. */
export function vectorType(dtype: Exclude<DType, "bf16" | "q8">, width: number): string {
  return width === 1 ? dtype : `vec${width}<${dtype}>`;
}

/** The widest vector, 4, 2 or 1 elements, that divides all these sizes. */
export function vectorWidth(...sizes: number[]): 4 | 2 | 1 {
  return sizes.every((size) => size % 4 === 0) ? 4 : sizes.every((size) => size % 2 === 0) ? 2 : 1;
}

/** The format of what is added to a product or convolution, or of its result. */
export function floatType({ dtype }: TensorType): FloatFormat {
  if (dtype !== "f32" && dtype !== "f16" && dtype !== "bf16") {
    throw new TypeError(`an operand is ${dtype}, wanted f32, f16 or bf16`);
  }
  return dtype;
}

/** The format of a factor of a product or convolution. */
export function factorType(type: TensorType): ReadFormat {
  return type.dtype === "q8" ? "q8" : floatType(type);
}
