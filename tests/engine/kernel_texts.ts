import { type Dispatch, dispatchesOf } from "../../engine/gpu/dispatches.ts";
import { type AnyOp, inputNames } from "../../engine/graph/op.ts";
import { type FloatFormat, type KernelTarget, plan, type Program } from "../../engine/mod.ts";
import { allOps } from "./all_ops.ts";
import { traceBeside, traceOverwriting, traceSample } from "./op_check.ts";

/** A kernel as a device would compile it. */
export interface KernelText {
  /** What it does and for whom, as in the device's own errors. */
  readonly label: string;
  readonly wgsl: string;
  /** One letter a binding, as `Device.layout` takes them. */
  readonly accesses: string;
}

/** The distinct kernels of programs on a target; no device is asked. */
export function kernelTexts(programs: Iterable<Program>, target: KernelTarget): KernelText[] {
  const texts = new Map<string, KernelText>();
  for (const program of programs) {
    for (const { kernel, label, bindings } of dispatchesOf(program, target).filter((each) => "kernel" in each)) {
      const accesses = accessesOf(bindings) + (kernel.sizes ? "u" : "");
      texts.set(kernel.wgsl, { label, wgsl: kernel.wgsl, accesses });
    }
  }
  return [...texts.values()];
}

function accessesOf(bindings: Dispatch["bindings"]): string {
  return bindings.map(({ access }) => access === "read" ? "r" : "w").join("");
}

/** What the samples of all ops run, by op: forward and gradients, from and to each format, and beside themselves. */
export async function samplePrograms(
  formats: readonly FloatFormat[] = ["f32", "f16", "bf16"],
): Promise<Map<string, Program[]>> {
  const programs = new Map<string, Program[]>();
  for (const op of await allOps()) {
    const { name, samples, overwrites, runsAlone } = op.definition as AnyOp;
    const given = inputNames(op.definition as AnyOp), isOptimizer = given.includes("halted") || given.includes("table");
    programs.set(
      name,
      samples.flatMap((sample) => {
        if (overwrites) return [plan({ effects: traceOverwriting(op, sample).changed })];
        const alone = (isOptimizer ? ["f32"] as const : formats).map((stored) =>
          plan({ outputs: traceSample(op, sample, stored) })
        );
        if (runsAlone) return alone;
        const [one, two] = traceBeside(op, sample);
        return [...alone, plan({ outputs: { ...one, ...two } })];
      }),
    );
  }
  return programs;
}
