import { type Node, originOf, type PackPart, type Tensor, type Variable } from "../graph/tensor.ts";
import { bufferBytes, byteLength, bytesPerElement, elementCount, type TensorType } from "../graph/types.ts";
import { collect } from "./collect.ts";
import { fuse } from "./fuse.ts";
import { assignSlots, pooledSlots } from "./slots.ts";

/** Which buffer a tensor lies in. Slots belong to the program and are reused; variables outlive it. */
export type BufferReference =
  | { readonly kind: "slot"; readonly slot: number }
  | { readonly kind: "variable"; readonly variable: Variable };

/** Where a tensor's bytes are. */
export interface Location {
  readonly buffer: BufferReference;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** What one dispatch binds, in the kernel's order. */
export interface Binding extends Location {
  readonly access: "read" | "read_write";
}

/** One thing that a program does: a node of the graph, a copy into a pack, or zeros for a pack that its parts do not cover; all but the last are dispatches. */
export type Step =
  | { readonly kind: "node"; readonly node: Node; readonly bindings: readonly Binding[] }
  | { readonly kind: "copy"; readonly scope: string; readonly bindings: readonly [Binding, Binding] }
  | { readonly kind: "clear"; readonly scope: string; readonly bindings: readonly [Binding] };

/** A named place that is fed before, or read after, a run. */
export interface Port {
  readonly type: TensorType;
  readonly location: Location;
}

/** A graph in the order it runs, with a place for every tensor: plain data, made and inspected without a GPU. */
export interface Program {
  readonly steps: readonly Step[];
  /** Bytes of each buffer slot. */
  readonly slots: readonly number[];
  readonly variables: readonly Variable[];
  readonly inputs: ReadonlyMap<string, Port>;
  readonly outputs: ReadonlyMap<string, Port>;
  /** Bytes of all slots and variables: what the program takes from the GPU. */
  readonly peakBytes: number;
  /** Life of every tensor in a slot, by the steps that first write and last read it. For checks and printing. */
  readonly lives: readonly Life[];
}

/** The steps between which a slot holds one tensor. */
export interface Life {
  readonly slot: number;
  readonly sizeBytes: number;
  /** Step that writes it; -1 for what is fed. */
  readonly first: number;
  /** Last step that reads it; Infinity for outputs. */
  readonly last: number;
}

/** What a program is planned from. */
export interface PlanOptions {
  /** Values to read back, by name. */
  readonly outputs?: Readonly<Record<string, Tensor>>;
  /** Results of ops that overwrite variables, such as an optimizer's step: run for their effect. */
  readonly effects?: readonly Tensor[];
  /** False: nodes stay as they were traced, for who looks them up. Joined where that saves dispatches when left out, see `fuse`. */
  readonly fused?: boolean;
}

interface Storage {
  sizeBytes: number;
  first: number;
  last: number;
}

type Place = { storage: Storage | Variable; offsetBytes: number };

/**
 * Orders the graph, drops what nobody needs, and gives every tensor a place.
 *
 * Order is the order of tracing. Buffers are whole slots reused by liveness: WebGPU lets no dispatch bind one buffer for reading and for
 * writing, so parts of one arena would not do.
 *
 * @throws {TypeError} If a variable is read after an effect has overwritten it.
 */
export function plan({ outputs: wanted = {}, effects = [], fused = true }: PlanOptions): Program {
  const names = Object.keys(wanted), traced = [...Object.values(wanted), ...effects];
  const roots = fused ? fuse(traced) : traced;
  const outputs = Object.fromEntries(names.map((name, i) => [name, roots[i]]));
  const { nodes, packs, inputs: inputTensors, uses } = collect(roots);
  const places = new Map<Tensor, Place>();
  const byOutput = new Map<Node, (Place | undefined)[]>();
  const storages: Storage[] = [];
  // Lives grow with the steps that touch them; what is fed is there from the start.
  const newStorage = (sizeBytes: number, first = Infinity): Storage => {
    const storage = { sizeBytes: bufferBytes(sizeBytes), first, last: -1 };
    storages.push(storage);
    return storage;
  };

  // Parts that only their pack wants are computed in place; others are copied when the pack is first needed.
  const inPlace = new Map<Node, Place>();
  const copies = new Map<Node | null, { from: Tensor; to: Place }[]>();
  // Packs to clear before their first part is written.
  const unclean = new Map<Storage, Tensor>();
  for (const tensor of packs) {
    if (tensor.source.kind !== "pack") continue;
    const storage = newStorage(byteLength(tensor));
    places.set(tensor, { storage, offsetBytes: 0 });
    if (!isCovered(tensor.source.parts, tensor)) unclean.set(storage, tensor);
    for (const part of tensor.source.parts) {
      const place = { storage, offsetBytes: part.offsetElements * bytesPerElement[tensor.dtype] };
      const origin = originOf(part.tensor), { source } = origin;
      const isWhole = elementCount(origin.shape) === elementCount(part.tensor.shape);
      if (
        source.kind === "node" && isWhole && uses.get(origin) === 1 && source.node.outputs.length === 1 &&
        !source.node.op.overwrites
      ) inPlace.set(source.node, place);
      else {
        const after = source.kind === "node" ? source.node : null;
        copies.set(after, [...(copies.get(after) ?? []), { from: part.tensor, to: place }]);
      }
    }
  }

  const variables = new Set<Variable>();
  const overwritten = new Map<Variable, string>();
  const place = (tensor: Tensor): Place => {
    const known = places.get(tensor);
    if (known) return known;
    const { source } = tensor;
    let found: Place;
    if (source.kind === "variable") {
      variables.add(source.variable);
      found = { storage: source.variable, offsetBytes: 0 };
    } else if (source.kind === "view") {
      const base = place(source.of);
      found = { ...base, offsetBytes: base.offsetBytes + source.offsetElements * bytesPerElement[tensor.dtype] };
    } else if (source.kind === "input") {
      found = { storage: newStorage(byteLength(tensor), -1), offsetBytes: 0 };
    } else if (source.kind === "node") {
      found = byOutput.get(source.node)![source.output]!;
    } else throw new Error("a pack is placed before it is used");
    places.set(tensor, found);
    return found;
  };
  for (const tensor of inputTensors) place(tensor);

  type Bound = { place: Place; tensor: TensorType; access: Binding["access"] };
  type Draft = { kind: Step["kind"]; node?: Node; scope: string; bindings: Bound[] };
  const drafts: Draft[] = [];
  const emit = (draft: Draft) => {
    for (const { place: { storage } } of draft.bindings) {
      const tensor = unclean.get(storage as Storage);
      if (!tensor) continue;
      unclean.delete(storage as Storage);
      const whole: Bound = { place: { storage, offsetBytes: 0 }, tensor, access: "read_write" };
      emit({ kind: "clear", scope: draft.scope, bindings: [whole] });
    }
    for (const { place: { storage } } of draft.bindings) {
      if (!("last" in storage)) continue;
      storage.first = Math.min(storage.first, drafts.length);
      storage.last = Math.max(storage.last, drafts.length);
    }
    drafts.push(draft);
  };
  const emitCopies = (after: Node | null) => {
    for (const { from, to } of copies.get(after) ?? []) {
      emit({
        kind: "copy",
        scope: after?.scope ?? "",
        bindings: [{ place: place(from), tensor: from, access: "read" }, {
          place: to,
          tensor: from,
          access: "read_write",
        }],
      });
    }
  };

  emitCopies(null);
  for (const node of nodes) {
    const count = node.op.overwrites ?? 0;
    const bindings: Draft["bindings"] = [];
    for (const [index, tensor] of node.inputs.entries()) {
      if (!tensor) continue;
      const at = place(tensor);
      const direct = originOf(tensor).source.kind !== "node";
      if (!("last" in at.storage) && direct && overwritten.has(at.storage) && index >= count) {
        throw new TypeError(
          `Cannot plan: variable ${at.storage.name} is read by ${node.op.name} in ${
            node.scope || "the program"
          } after ${overwritten.get(at.storage)} has overwritten it`,
        );
      }
      bindings.push({ place: at, tensor, access: index < count ? "read_write" : "read" });
    }
    if (count) {
      byOutput.set(node, bindings.slice(0, count).map((bound) => bound.place));
      for (const { place } of bindings.slice(0, count)) overwritten.set(place.storage as Variable, node.op.name);
    } else {
      byOutput.set(
        node,
        node.outputs.map((type) => {
          const at = inPlace.get(node) ?? { storage: newStorage(byteLength(type)), offsetBytes: 0 };
          bindings.push({ place: at, tensor: type, access: "read_write" });
          return at;
        }),
      );
    }
    emit({ kind: "node", node, scope: node.scope, bindings });
    emitCopies(node);
  }
  for (const tensor of Object.values(outputs)) {
    const at = place(tensor);
    if ("last" in at.storage) at.storage.last = Infinity;
  }

  const { slots, slotOf } = assignSlots(storages);
  const locate = ({ storage, offsetBytes }: Place, type: TensorType): Location => ({
    buffer: "last" in storage ? { kind: "slot", slot: slotOf.get(storage)! } : { kind: "variable", variable: storage },
    offsetBytes,
    sizeBytes: byteLength(type),
  });
  const steps = drafts.map(({ bindings, ...draft }): Step => {
    const bound = bindings.map(({ place, tensor, access }) => ({ ...locate(place, tensor), access }));
    return { ...draft, bindings: bound } as unknown as Step;
  });
  const port = (tensor: Tensor): Port => ({
    type: { shape: tensor.shape, dtype: tensor.dtype },
    location: locate(place(tensor), tensor),
  });
  const inputPorts = new Map<string, Port>();
  for (const tensor of inputTensors) {
    const { name } = tensor.source as { name: string };
    if (inputPorts.has(name)) throw new TypeError(`Cannot plan: two inputs are named ${name}`);
    inputPorts.set(name, port(tensor));
  }
  const outputPorts = new Map(Object.entries(outputs).map(([name, tensor]) => [name, port(tensor)]));
  return {
    steps,
    slots,
    variables: [...variables],
    inputs: inputPorts,
    outputs: outputPorts,
    peakBytes: total(slots) + variableBytes([...variables]),
    lives: storages.map((storage) => ({
      slot: slotOf.get(storage)!,
      sizeBytes: storage.sizeBytes,
      first: storage.first,
      last: storage.last,
    })),
  };
}

/** Whether a pack's parts leave no byte of it out. */
function isCovered(parts: readonly PackPart[], pack: TensorType): boolean {
  let end = 0;
  for (const { tensor, offsetElements } of parts) {
    if (offsetElements > end) return false;
    end = offsetElements + elementCount(tensor.shape);
  }
  return end * bytesPerElement[pack.dtype] === byteLength(pack);
}

/**
 * Bytes that several programs take which share a `SlotPool` and so take turns: its buffers, and the variables of all.
 *
 * @param resident Variables that lie on the device besides.
 */
export function pooledBytes(programs: readonly Program[], resident: readonly Variable[] = []): number {
  return total(pooledSlots(programs)) +
    variableBytes([...programs.flatMap((program) => program.variables), ...resident]);
}

/** Bytes that variables take, each of them once. */
export function variableBytes(variables: readonly Variable[]): number {
  return total([...new Set(variables)].map((variable) => bufferBytes(byteLength(variable))));
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

/** The program as text: one line a dispatch, with slots and bytes. For reading and for tests. */
export function programText(program: Program): string {
  const name = ({ buffer, offsetBytes }: Location) =>
    (buffer.kind === "slot" ? `#${buffer.slot}` : buffer.variable.name) + (offsetBytes ? `+${offsetBytes}` : "");
  const lines = program.steps.map((step, index) => {
    const reads = step.bindings.filter((bound) => bound.access === "read").map(name);
    const writes = step.bindings.filter((bound) => bound.access === "read_write").map(name);
    const what = step.kind === "node" ? step.node.op.name : step.kind;
    const where = step.kind === "node" ? step.node.scope : step.scope;
    return `${index} ${what}(${reads.join(", ")}) -> ${writes.join(", ")}${where ? `  ${where}` : ""}`;
  });
  return [
    ...lines,
    `slots ${program.slots.join(" ")} bytes; variables ${
      variableBytes(program.variables)
    } bytes; peak ${program.peakBytes} bytes`,
  ].join("\n");
}
