import type { Kernel, KernelTarget } from "../../graph/kernel.ts";
import { elementCount, sameShape, type TensorType } from "../../graph/types.ts";
import { binding, float, grid } from "./wgsl.ts";

/** What an op that changes variables in place is made of. */
export interface UpdateInputs {
  readonly target: KernelTarget;
  /** Tensors of one flat shape: first those that are overwritten. In the body `name[i]` is the invocation's element. */
  readonly elements: Readonly<Record<string, TensorType>>;
  /** How many of `elements` are overwritten. */
  readonly overwrites: number;
  /**
   * Small tensors, bound after those. Among them `halted` (see `haltUnlessFinite`), nothing changes where it is not 0; or `step` (see `dadaptStep`), which
   * says the same.
   */
  readonly small: Readonly<Record<string, TensorType>>;
}

/**
 * Kernel of an optimizer's step: one invocation an element, and nothing changes in a step that is halted.
 *
 * @param body WGSL statements; variables are written as `name[i] = …`.
 * @param functions WGSL functions that the body calls.
 */
export function updateKernel(
  { target, elements, overwrites, small }: UpdateInputs,
  body: string,
  functions = "",
): Kernel {
  const bound = Object.entries({ ...elements, ...small });
  const count = elementCount(Object.values(elements)[0].shape), lines = grid(count, target);
  return {
    workgroups: lines.workgroups,
    wgsl: `${declarations(bound, overwrites)}
const COUNT = ${count}u;
${functions}
${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT || ${isHalted(small)}) { return; }
  ${body.trim()}
}
`,
  };
}

/**
 * Kernel that computes an optimizer's scalars in one invocation: the first input, a small variable, is overwritten, but not in a step that is halted.
 *
 * @param small Inputs in the order of the bindings, `halted` or `step` among them.
 */
export function scalarKernel(small: Readonly<Record<string, TensorType>>, body: string, functions = ""): Kernel {
  return {
    workgroups: [1, 1, 1],
    wgsl: `${declarations(Object.entries(small), 1)}
${functions}
@compute @workgroup_size(1)
fn main() {
  if (${isHalted(small)}) { return; }
  ${body.trim()}
}
`,
  };
}

function declarations(bound: readonly [name: string, type: TensorType][], overwrites: number): string {
  return bound.map(([name, { dtype }], at) => binding(at, name, dtype, at < overwrites ? "read_write" : "read"))
    .join("\n");
}

function isHalted(small: Readonly<Record<string, TensorType>>): string {
  return "step" in small ? "step[2] == 0.0" : "halted[0] != 0u";
}

/** Shape rule of an optimizer's step: the first `overwrites` tensors, which must have one shape with all other `elements`. */
export function updateType(elements: Readonly<Record<string, TensorType>>, overwrites: number): TensorType[] {
  const [[first, type], ...others] = Object.entries(elements);
  for (const [name, other] of others) {
    if (sameShape(other.shape, type.shape)) continue;
    throw new TypeError(
      `shapes differ: ${first} is [${type.shape.join(", ")}], ${name} is [${other.shape.join(", ")}]`,
    );
  }
  return Object.values(elements).slice(0, overwrites);
}

/**
 * WGSL of `oneMinusPower(t, logBase)`: 1 − βᵗ from ln β, as −expm1(t · ln β). Below one half by Taylor's series, whose next term is below 2⁻²⁴ there: the
 * plain difference would lose four digits in an optimizer's first steps.
 */
export const oneMinusPower = `
fn oneMinusPower(t: f32, logBase: f32) -> f32 {
  let x = t * logBase;
  if (x < -0.5) { return 1.0 - exp(x); }
  return -x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * (1.0 + x / 5.0 * (1.0 + x / 6.0 * (1.0 + x / 7.0 * (1.0 + x / 8.0)))))));
}
`;

/** ln β as a WGSL literal for `oneMinusPower`; a β of 0 has a power that underflows. */
export function logBase(beta: number): string {
  return float(Math.max(Math.log(beta), -1e4));
}

/** Type of the flag that optimizers' steps take, for samples. */
export const haltedType = { shape: [1], dtype: "u32" } as const;
