import { type FinishingKernel, type Kernel, type KernelTarget, mostScratchBytes } from "../graph/kernel.ts";
import { guaranteedBindingBytes, type Node, type Variable } from "../graph/tensor.ts";
import { byName, inputNames } from "../graph/op.ts";
import { canJoin, joinKernels, type KernelPart, kernelText } from "../plan/joined_kernel.ts";
import { canStack, elementBytes, stackKernel } from "../plan/stacked_kernel.ts";
import type { Binding, BufferReference, Location, Program, Step } from "../plan/plan.ts";
import { shareSizes } from "./share_sizes.ts";

/** Where a dispatch's bytes are: where the plan has placed a tensor, or in scratch memory. */
export interface BoundLocation extends Omit<Location, "buffer"> {
  readonly buffer: BufferReference | { readonly kind: "scratch" };
}

/** What a dispatch binds, in the kernel's order. */
export type DispatchBinding = BoundLocation & Pick<Binding, "access">;

/** What a run does at once: one kernel for one step of the program, or for several that are side by side. */
export interface Dispatch {
  /** Places of the steps in the program. */
  readonly steps: readonly number[];
  readonly label: string;
  readonly kernel: Kernel;
  readonly bindings: readonly DispatchBinding[];
  /** It leaves what the dispatch behind it makes the steps' results of. */
  readonly isUnfinished?: boolean;
}

/** A pack's buffer that is cleared between dispatches. */
export interface Clear {
  readonly clears: Location;
}

/**
 * On a CPU adapter kernels stay apart whose joined text has more characters than this for each dispatch of the program that would run it. A character takes some
 * 20 µs to compile there, and a dispatch costs as much: in so many steps a joined text has paid for itself.
 */
const charactersPerUse = 2000;

/**
 * What a program's steps are on a given adapter, in order. Steps that are side by side run in one dispatch where they are alike and what each of them binds
 * lies in the same buffers; what is left is joined as far as that compiles fast, and pays.
 */
export function dispatchesOf(program: Program, target: KernelTarget): (Dispatch | Clear)[] {
  const times: (Dispatch[][] | Clear)[] = [],
    whole = program.fused ? withProducers(program, target) : new Map<number, Dispatch>();
  const done = new Set([...whole.values()].map(({ steps: [producer] }) => producer));
  let open: Dispatch[][] = [];
  for (const [index, step] of program.steps.entries()) {
    if (step.kind === "clear") {
      times.push({ clears: step.bindings[0] });
      continue;
    }
    if (step.kind !== "node" || !step.beside) times.push(open = []);
    if (done.has(index)) continue;
    const single = whole.get(index) ?? { steps: [index], ...kernelOf(step, target), bindings: step.bindings };
    const same = open.find((parts) => fits(parts, single, target));
    if (same) same.push(single);
    else open.push([single]);
  }
  const groups = times.flatMap((time) => "clears" in time ? [] : time);
  const texts = new Set(groups.flatMap(([{ kernel }, ...others]) => others.length > 0 ? [kernel.wgsl] : []));
  // On a CPU adapter, which takes long to compile, a kernel that is stacked elsewhere has that text here too.
  const isStacked = (parts: readonly Dispatch[]) => parts.length > 1 || target.cpu && texts.has(parts[0].kernel.wgsl);
  const sets = times.map((time) => {
    if ("clears" in time) return time;
    const [inTwo, inOne] = [true, false].map((has) => time.filter(([{ kernel }]) => !!kernel.finish === has));
    return [
      ...inTwo.flatMap((parts) => bothDispatches(parts, target)).map((part) => ({
        parts: [part],
        whole: finished(part, target),
      })),
      ...joinable(inOne.map((parts) => isStacked(parts) ? stacked(parts, target) : parts[0]), target)
        .map((parts) => ({ parts, whole: finished(joined(parts, target), target) })),
    ];
  });
  const uses = new Map<string, number>();
  for (const { whole: { kernel: { wgsl } } } of sets.flatMap((time) => "clears" in time ? [] : time)) {
    uses.set(wgsl, (uses.get(wgsl) ?? 0) + 1);
  }
  const pays = ({ kernel: { wgsl } }: Dispatch) => !target.cpu || wgsl.length <= uses.get(wgsl)! * charactersPerUse;
  return sets.flatMap((time): (Dispatch | Clear)[] =>
    "clears" in time
      ? [time]
      : time.flatMap(({ parts, whole }) =>
        parts.length === 1 || pays(whole) ? [whole] : parts.map((part) => finished(part, target))
      )
  );
}

/** How many dispatches a program is on a given adapter; planned without a GPU. */
export function countDispatches(program: Program, target: KernelTarget): number {
  return dispatchesOf(program, target).filter((each) => "kernel" in each).length;
}

function finished(dispatch: Dispatch, target: KernelTarget): Dispatch {
  return target.cpu ? { ...dispatch, kernel: shareSizes(dispatch.kernel) } : dispatch;
}

/** Whether a step can be stacked on others. */
function fits(parts: readonly Dispatch[], { kernel, bindings }: Dispatch, target: KernelTarget): boolean {
  const [first] = parts;
  // Some kernels take a size, such as the number of matrices in a batch, from the workgroups alone.
  return kernel.wgsl === first.kernel.wgsl &&
    kernel.workgroups.every((count, i) => count === first.kernel.workgroups[i]) &&
    canStack(kernel) &&
    kernel.workgroups[2] * (parts.length + 1) <= target.maxWorkgroupsPerDimension &&
    (!kernel.finish || fitsFinish(kernel.finish, parts, target)) &&
    bindings.every((binding, place) =>
      sameBuffer(binding.buffer, first.bindings[place].buffer) &&
      around([binding, ...parts.map((part) => part.bindings[place])]).sizeBytes <= guaranteedBindingBytes
    );
}

/** Whether a step's second dispatch can be stacked on others'. Kernels with the same first dispatch differ in how they finish, such as by a bias. */
function fitsFinish(finish: FinishingKernel, parts: readonly Dispatch[], target: KernelTarget): boolean {
  const { finish: other } = parts[0].kernel;
  return finish.wgsl === other?.wgsl && finish.workgroups.every((count, i) => count === other.workgroups[i]) &&
    canStack(finish) &&
    finish.workgroups[2] * (parts.length + 1) <= target.maxWorkgroupsPerDimension &&
    finish.scratchBytes * (parts.length + 1) <= mostScratchBytes;
}

/** Both dispatches of alike steps whose kernel has two. What one step's first leaves lies in scratch memory behind another's. */
function bothDispatches(parts: readonly Dispatch[], target: KernelTarget): Dispatch[] {
  const ofSteps = parts.map((part, run): [Dispatch, Dispatch] => {
    const { finish, ...first } = part.kernel, { scratchBytes, firstBinds, binds, ...second } = finish!;
    if (scratchBytes > mostScratchBytes) {
      throw new RangeError(
        `${part.label} wants ${scratchBytes} bytes of scratch memory, the most is ${mostScratchBytes}`,
      );
    }
    const at = (places: readonly number[]) => places.map((place) => part.bindings[place]);
    const scratch = (access: Binding["access"]): DispatchBinding => ({
      buffer: { kind: "scratch" },
      offsetBytes: run * scratchBytes,
      sizeBytes: scratchBytes,
      access,
    });
    return [
      { ...part, kernel: first, bindings: [...at(firstBinds), scratch("read_write")], isUnfinished: true },
      { ...part, kernel: second, bindings: [scratch("read"), ...at(binds)] },
    ];
  });
  return [0, 1].map((place) => {
    const alike = ofSteps.map((both) => both[place]);
    return alike.length > 1 ? stacked(alike, target) : alike[0];
  });
}

/** What shows several parts of a buffer. */
function around(bindings: readonly DispatchBinding[]): DispatchBinding {
  const offsetBytes = Math.min(...bindings.map((each) => each.offsetBytes));
  const end = Math.max(...bindings.map((each) => each.offsetBytes + each.sizeBytes));
  return { ...bindings[0], offsetBytes, sizeBytes: end - offsetBytes };
}

function sameBuffer(a: BoundLocation["buffer"], b: BoundLocation["buffer"]): boolean {
  if (a.kind === "slot") return b.kind === "slot" && a.slot === b.slot;
  if (a.kind === "variable") return b.kind === "variable" && a.variable === b.variable;
  return b.kind === "scratch";
}

/** Alike steps as one dispatch. */
function stacked(parts: readonly Dispatch[], target: KernelTarget): Dispatch {
  const [first] = parts, { label, kernel, bindings } = first, sizes = elementBytes(kernel);
  const whole = bindings.map((_, place) => around(parts.map((part) => part.bindings[place])));
  const offsets = whole.map(({ offsetBytes }, place) =>
    parts.map((part) => (part.bindings[place].offsetBytes - offsetBytes) / sizes[place])
  );
  return {
    ...first,
    steps: parts.flatMap(({ steps }) => steps),
    label: parts.length > 1 ? `${label} and ${parts.length - 1} beside it` : label,
    kernel: stackKernel(kernel, offsets, target),
    bindings: whole,
  };
}

/** A dispatch with its text at hand. */
type Part = Dispatch & KernelPart;

/** Dispatches of one time, in as few sets as they can be joined to. */
function joinable(dispatches: readonly Dispatch[], target: KernelTarget): Part[][] {
  const sets: Part[][] = [];
  for (const dispatch of dispatches) {
    const { kernel, bindings } = dispatch, part = { ...dispatch, text: kernelText(kernel), shown: bindings.map(shown) };
    const room = sets.find((parts) => canJoin([...parts, part], target) && canBind([...parts, part]));
    if (room) room.push(part);
    else sets.push([part]);
  }
  return sets;
}

/** What can be joined as one dispatch. */
function joined(parts: readonly Part[], target: KernelTarget): Dispatch {
  if (parts.length === 1) return parts[0];
  const { kernel, bindings } = joinKernels(parts, target);
  return {
    steps: parts.flatMap(({ steps }) => steps),
    label: parts.map(({ label }) => label).join(", "),
    kernel,
    bindings: bindings.map(({ part, place }) => parts[part].bindings[place]),
  };
}

/** WebGPU lets one dispatch bind no buffer for reading and for writing, nor two parts of it that meet for writing. */
function canBind(parts: readonly Dispatch[]): boolean {
  const all = parts.flatMap(({ bindings }) => bindings), writes = all.filter(({ access }) => access === "read_write");
  return !all.some((each) =>
    writes.some((other) =>
      other !== each && (each.access === "read" ? sameBuffer(each.buffer, other.buffer) : meet(each, other))
    )
  );
}

/** Whether two places have bytes in common. */
function meet(a: BoundLocation, b: BoundLocation): boolean {
  return sameBuffer(a.buffer, b.buffer) && a.offsetBytes < b.offsetBytes + b.sizeBytes &&
    b.offsetBytes < a.offsetBytes + a.sizeBytes;
}

/** What a binding shows, as a name. Variables may have equal names, so theirs are numbers. */
function shown({ buffer, offsetBytes, sizeBytes }: BoundLocation): string {
  const name = buffer.kind === "variable"
    ? `variable ${numberOf(buffer.variable)}`
    : buffer.kind === "slot"
    ? buffer.slot
    : "scratch";
  return `${name} ${offsetBytes} ${sizeBytes}`;
}

const numbers = new WeakMap<Variable, number>();
let count = 0;

function numberOf(variable: Variable): number {
  const number = numbers.get(variable) ?? count++;
  numbers.set(variable, number);
  return number;
}

/**
 * Steps whose kernel does the work of an earlier step as well, by place: see `kernelMaking`. What the earlier step makes is then there as late as the first
 * step that reads it.
 */
function withProducers({ steps }: Program, target: KernelTarget): Map<number, Dispatch> {
  const found = new Map<number, Dispatch>();
  const placeOf = new Map(steps.flatMap((step, index) => step.kind === "node" ? [[step.node, index]] : []));
  for (const [index, step] of steps.entries()) {
    if (step.kind !== "node") continue;
    const { op, inputs } = step.node;
    if (!op.kernelMaking) continue;
    for (const [place, name] of inputNames(op).entries()) {
      const source = inputs[place]?.source, producer = source?.kind === "node" ? source.node : null;
      if (
        !producer || producer.outputs.length > 1 || !producer.inputs.every((each) => !each || inputs.includes(each))
      ) {
        continue;
      }
      const kernel = op.kernelMaking(name, producer.op, contextOf(step.node, target)), from = placeOf.get(producer)!;
      const made = steps[from].bindings.at(-1)!;
      const last = steps.findIndex((each, at) => at > index && !(each.kind === "node" && each.beside));
      // Steps of one time run in any order: what another of them reads must be there before.
      const isReadUntilThen = steps.slice(from + 1, last < 0 ? undefined : last).some((each) =>
        each !== step && each.bindings.some((other) => meet(other, made))
      );
      // What has a dispatch of its own that makes an input is not dropped.
      if (!kernel || isReadUntilThen || found.has(from)) continue;
      const bindings = step.bindings.map((each): Binding =>
        meet(each, made) ? { ...each, access: "read_write" } : each
      );
      found.set(index, { steps: [from, index], label: labelOf(step.node), kernel, bindings });
      break;
    }
  }
  return found;
}

function kernelOf(step: Exclude<Step, { kind: "clear" }>, target: KernelTarget): { label: string; kernel: Kernel } {
  if (step.kind === "copy") {
    return { label: `pack ${step.scope}`, kernel: copyKernel(step.bindings[0].sizeBytes, target) };
  }
  return { label: labelOf(step.node), kernel: step.node.op.kernel(contextOf(step.node, target)) };
}

function labelOf({ op: { name }, scope }: Node): string {
  return scope ? `${name} ${scope}` : name;
}

function contextOf({ op, inputs, outputs, attributes }: Node, target: KernelTarget) {
  return { inputs: byName(inputNames(op), inputs) as never, outputs, output: outputs[0], attributes, target };
}

/** Copies 4-byte words, one invocation each. */
function copyKernel(sizeBytes: number, target: KernelTarget): Kernel {
  const words = sizeBytes / 4, groups = Math.ceil(words / 64);
  const x = Math.min(groups, target.maxWorkgroupsPerDimension);
  return {
    workgroups: [x, Math.ceil(groups / x), 1],
    wgsl: `@group(0) @binding(0) var<storage, read> source: array<u32>;
@group(0) @binding(1) var<storage, read_write> result: array<u32>;
const WORDS = ${words}u;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3u) {
  let i = at.x + at.y * ${x * 64}u;
  if (i < WORDS) { result[i] = source[i]; }
}
`,
  };
}
