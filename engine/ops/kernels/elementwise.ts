import type { Kernel } from "../../graph/kernel.ts";
import type { KernelContext } from "../../graph/op.ts";
import {
  broadcastShape,
  computedIn,
  elementCount,
  sameShape,
  type Shape,
  type TensorType,
  typeText,
} from "../../graph/types.ts";
import { buffers, Stored } from "./storage.ts";
import { broadcastIndex, grid, vectorType } from "./wgsl.ts";

type Values = Record<string, TensorType | null>;

const workgroupSize = 128;

/**
 * Kernel of an op that computes every output element from the elements at the same place; smaller inputs broadcast.
 *
 * One invocation computes four neighbours where the shapes allow it (one otherwise): on CPU adapters a vec4 load costs hardly more than
 * a scalar one.
 *
 * @param expression WGSL over the inputs' names, as f32 (or their own integer type), or a function of the attributes that writes it. The
 * names stand for vectors or scalars: a constant that must have their type is written `V(1.0)`.
 * @param functions WGSL functions that the expression calls, in terms of `V`.
 */
// deno-lint-ignore no-explicit-any
export function elementwise(expression: string | ((attributes: any) => string), functions = ""): (
  // deno-lint-ignore no-explicit-any
  at: KernelContext<any, any>,
) => Kernel {
  return ({ inputs, output, attributes, target }) => {
    const present = Object.entries(inputs as Values).filter((entry): entry is [string, TensorType] =>
      entry[1] !== null
    );
    const { width, shape, operands } = vectorize(present.map(([, type]) => type.shape), output.shape);
    const lines = grid(elementCount(shape), target, workgroupSize);
    const text = typeof expression === "string" ? expression : expression(attributes);
    const read = present.map(([name, type], at) => new Stored(`${name}_in`, type, operands[at].width, target));
    const result = new Stored("result", output, width, target);
    const loads = present.map(([name, { dtype }], at) =>
      `  let ${name} = ${vectorType(computedIn(dtype), width)}(${
        read[at].load(broadcastIndex("i", operands[at].shape, shape))
      });`
    );
    return {
      workgroups: lines.workgroups,
      wgsl: `${buffers(read, [result])}
alias V = ${vectorType("f32", width)};
const COUNT = ${elementCount(shape)}u;
${functions}
${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
${loads.join("\n")}
  ${result.store("i", `${result.type}(${text})`)}
}
`,
    };
  };
}

/** A shape in units of so many elements. */
interface Vectorized {
  readonly width: 1 | 4;
  readonly shape: Shape;
}

/** Shapes in units of the widest vector that fits output and inputs, and how wide each input is read: 1 where one element serves a vector. */
function vectorize(inputs: readonly Shape[], output: Shape): Vectorized & { readonly operands: readonly Vectorized[] } {
  const scalar = { width: 1, shape: output, operands: inputs.map((shape) => ({ width: 1, shape }) as const) } as const;
  const count = elementCount(output);
  if (count % 4 !== 0) return scalar;
  if (inputs.every((shape) => elementCount(shape) === count || elementCount(shape) === 1)) {
    const operands = inputs.map((shape) =>
      elementCount(shape) === count ? { width: 4, shape: [count / 4] } as const : { width: 1, shape: [] } as const
    );
    return { width: 4, shape: [count / 4], operands };
  }
  const last = output[output.length - 1];
  if (last % 4 !== 0) return scalar;
  const quarter = (shape: Shape) => [...shape.slice(0, -1), shape[shape.length - 1] / 4];
  return {
    width: 4,
    shape: quarter(output),
    operands: inputs.map((shape) =>
      shape[shape.length - 1] === last ? { width: 4, shape: quarter(shape) } as const : { width: 1, shape } as const
    ),
  };
}

/** Shape rule of elementwise ops: all inputs broadcast to one shape; the output is f32. */
export function broadcastType(inputs: Values): TensorType {
  let shape: readonly number[] | null = null, from = "";
  for (const [name, type] of Object.entries(inputs)) {
    if (type === null) continue;
    const joined: readonly number[] | null = shape === null ? type.shape : broadcastShape(shape, type.shape);
    if (joined === null) {
      throw new TypeError(`shapes differ: ${from} is [${shape!.join(", ")}], ${name} is ${typeText(type)}`);
    }
    if (shape === null || !sameShape(shape, joined)) from = name;
    shape = joined;
  }
  return { shape: shape!, dtype: "f32" };
}
