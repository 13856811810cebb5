import type { Kernel } from "../../graph/kernel.ts";
import type { KernelContext } from "../../graph/op.ts";
import { broadcastShape, elementCount, sameShape, type TensorType, typeText } from "../../graph/types.ts";
import { binding, broadcastIndex, enables, grid, narrow, widen } from "./wgsl.ts";

type Values = Record<string, TensorType | null>;

/**
 * Kernel of an op that computes every output element from the elements at the same place: one invocation an element; smaller inputs broadcast.
 *
 * @param expression WGSL over the inputs' names, as f32 (or their own integer type), or a function of the attributes that writes it.
 */
// deno-lint-ignore no-explicit-any
export function elementwise(expression: string | ((attributes: any) => string)): (
  // deno-lint-ignore no-explicit-any
  at: KernelContext<any, any>,
) => Kernel {
  return ({ inputs, output, attributes, target }) => {
    const present = Object.entries(inputs as Values).filter((entry): entry is [string, TensorType] =>
      entry[1] !== null
    );
    const count = elementCount(output.shape);
    const lines = grid(count, target);
    const text = typeof expression === "string" ? expression : expression(attributes);
    return {
      workgroups: lines.workgroups,
      wgsl: `${enables([...present.map(([, type]) => type), output])}
${present.map(([name, type], at) => binding(at, `${name}_in`, type.dtype, "read")).join("\n")}
${binding(present.length, "result", output.dtype, "read_write")}
const COUNT = ${count}u;

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
${
        present.map(([name, type]) =>
          `  let ${name} = ${widen(type.dtype, `${name}_in[${broadcastIndex("i", type.shape, output.shape)}]`)};`
        ).join("\n")
      }
  result[i] = ${narrow(output.dtype, text)};
}
`,
    };
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
