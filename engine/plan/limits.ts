import { inputNames } from "../graph/op.ts";
import { byteLength, typeText } from "../graph/types.ts";
import type { Binding, Program, Step } from "./plan.ts";

/** How large buffers and bindings an adapter allows. */
export interface BufferLimits {
  /** The adapter's name, for messages. */
  readonly name: string;
  /** Bytes of a buffer that one binding can show a kernel. */
  readonly maxBindingBytes: number;
  readonly maxBufferBytes: number;
}

/**
 * Checks that an adapter can hold and bind every tensor of a program, before anything is put on it.
 *
 * @throws {RangeError} If one is too large: scope, op, tensor, its bytes, the limit, and what to change.
 */
export function checkLimits(program: Program, limits: BufferLimits): void {
  // What ops need is named first: packs copy what these read or made.
  const nodes = program.steps.filter(({ kind }) => kind === "node"),
    packs = program.steps.filter(({ kind }) => kind === "copy");
  for (const step of [...nodes, ...packs]) {
    for (const [place, bound] of step.bindings.entries()) {
      if (bound.sizeBytes <= limits.maxBindingBytes) continue;
      throw new RangeError(
        `Cannot run ${actionText(step)}: ${tensorText(step, place)} takes ${bound.sizeBytes} bytes, ` +
          `${limits.name} binds at most ${limits.maxBindingBytes}. ${wayOut(bound)}`,
      );
    }
  }
  for (const variable of program.variables) {
    const sizeBytes = byteLength(variable);
    if (sizeBytes <= limits.maxBufferBytes) continue;
    throw new RangeError(
      `Cannot allocate ${variable.name}: ${typeText(variable)} takes ${sizeBytes} bytes, ` +
        `a buffer of ${limits.name} has at most ${limits.maxBufferBytes}. Use f16 weights, or a lower rank`,
    );
  }
  for (const [slot, sizeBytes] of program.slots.entries()) {
    if (sizeBytes <= limits.maxBufferBytes) continue;
    const isIn = ({ buffer }: Binding) => buffer.kind === "slot" && buffer.slot === slot;
    const step = program.steps.find((step) => step.bindings.some(isIn));
    throw new RangeError(
      `Cannot allocate what ${step ? actionText(step) : "the inputs"} needs: ${sizeBytes} bytes together, ` +
        `a buffer of ${limits.name} has at most ${limits.maxBufferBytes}. Use a smaller batch, or a lower rank`,
    );
  }
}

function actionText(step: Step): string {
  const scope = step.kind === "node" ? step.node.scope : step.scope;
  return `${step.kind === "node" ? step.node.op.name : "pack"}${scope ? ` in ${scope}` : ""}`;
}

/** A bound tensor by the op's word for it, with its type. */
function tensorText(step: Step, place: number): string {
  const { buffer } = step.bindings[place], name = buffer.kind === "variable" ? ` (${buffer.variable.name})` : "";
  if (step.kind !== "node") return `its part${name}`;
  const inputs = inputNames(step.node.op).flatMap((name, i) => {
    const tensor = step.node.inputs[i];
    return tensor ? [`${name}, ${typeText(tensor)}`] : [];
  });
  return (inputs[place] ?? `its result, ${typeText(step.node.outputs[place - inputs.length])}`) + `${name},`;
}

function wayOut({ buffer }: Binding): string {
  return buffer.kind === "variable" ? "Use f16 weights" : "Use a smaller batch, smaller pictures or 16-bit activations";
}
