import type { Node, Tensor, Variable } from "../graph/tensor.ts";
import { byteLength, bytesPerElement, elementCount, type TensorType } from "../graph/types.ts";
import { assignSlots } from "./slots.ts";

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

/** One dispatch of a program: a node of the graph, or a copy into a pack. */
export type Step =
  | { readonly kind: "node"; readonly node: Node; readonly bindings: readonly Binding[] }
  | { readonly kind: "copy"; readonly scope: string; readonly bindings: readonly [Binding, Binding] };

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
  /** Last step that reads it; Infinity for outputs and packs, which keep their slot for themselves. */
  readonly last: number;
}

/** What a program is planned from. */
export interface PlanOptions {
  /** Values to read back, by name. */
  readonly outputs?: Readonly<Record<string, Tensor>>;
  /** Results of ops that overwrite variables, such as an optimizer's step: run for their effect. */
  readonly effects?: readonly Tensor[];
}

interface Storage {
  sizeBytes: number;
  first: number;
  last: number;
  exclusive: boolean;
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
export function plan({ outputs = {}, effects = [] }: PlanOptions): Program {
  const roots = [...Object.values(outputs), ...effects];
  const { nodes, packs, inputs: inputTensors, uses } = collect(roots);
  const places = new Map<Tensor, Place>();
  const byOutput = new Map<Node, (Place | undefined)[]>();
  const storages: Storage[] = [];
  const newStorage = (sizeBytes: number, first: number, exclusive = false): Storage => {
    const storage = { sizeBytes, first, last: exclusive ? Infinity : first, exclusive };
    storages.push(storage);
    return storage;
  };

  // Parts that only their pack wants are computed in place; others are copied when the pack is first needed.
  const inPlace = new Map<Node, Place>();
  const copies = new Map<Node | null, { from: Tensor; to: Place }[]>();
  for (const tensor of packs) {
    if (tensor.source.kind !== "pack") continue;
    const storage = newStorage(byteLength(tensor), -1, true);
    places.set(tensor, { storage, offsetBytes: 0 });
    for (const part of tensor.source.parts) {
      const place = { storage, offsetBytes: part.offsetElements * bytesPerElement[tensor.dtype] };
      const { origin, whole } = originOf(part.tensor);
      const { source } = origin;
      if (
        source.kind === "node" && whole && uses.get(origin) === 1 && source.node.outputs.length === 1 &&
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

  type Draft = { node?: Node; scope: string; bindings: { place: Place; tensor: Tensor; access: Binding["access"] }[] };
  const drafts: Draft[] = [];
  const touch = (at: Place, step: number) => {
    if ("last" in at.storage) {
      at.storage.last = Math.max(at.storage.last, step);
    }
  };
  const emit = (draft: Draft) => {
    for (const { place } of draft.bindings) touch(place, drafts.length);
    drafts.push(draft);
  };
  const emitCopies = (after: Node | null) => {
    for (const { from, to } of copies.get(after) ?? []) {
      emit({
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
      const direct = originOf(tensor).origin.source.kind !== "node";
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
        node.outputs.map((type, output) => {
          const at = inPlace.get(node) ?? { storage: newStorage(byteLength(type), drafts.length), offsetBytes: 0 };
          bindings.push({ place: at, tensor: { ...type, output } as unknown as Tensor, access: "read_write" });
          return at;
        }),
      );
    }
    emit({ node, scope: node.scope, bindings });
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
  const steps = drafts.map(({ node, scope, bindings }): Step => {
    const bound = bindings.map(({ place, tensor, access }) => ({ ...locate(place, tensor), access }));
    return node
      ? { kind: "node", node, bindings: bound }
      : { kind: "copy", scope, bindings: bound as unknown as [Binding, Binding] };
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
  const slotBytes = slots.reduce((a, b) => a + b, 0);
  const variableBytes = [...variables].reduce((a, variable) => a + byteLength(variable), 0);
  return {
    steps,
    slots,
    variables: [...variables],
    inputs: inputPorts,
    outputs: outputPorts,
    peakBytes: slotBytes + variableBytes,
    lives: storages.map((storage) => ({
      slot: slotOf.get(storage)!,
      sizeBytes: storage.sizeBytes,
      first: storage.first,
      last: storage.last,
    })),
  };
}

/** A tensor behind full-size views, and whether those views cover it whole. */
function originOf(tensor: Tensor): { origin: Tensor; whole: boolean } {
  let whole = true, origin = tensor;
  while (origin.source.kind === "view") {
    whole &&= elementCount(origin.source.of.shape) === elementCount(origin.shape);
    origin = origin.source.of;
  }
  return { origin, whole };
}

function collect(roots: readonly Tensor[]) {
  const nodes = new Set<Node>(),
    packs = new Set<Tensor>(),
    inputs = new Set<Tensor>(),
    uses = new Map<Tensor, number>();
  const seen = new Set<Tensor>(), open: Tensor[] = [];
  const use = (tensor: Tensor) => {
    const { origin } = originOf(tensor);
    uses.set(origin, (uses.get(origin) ?? 0) + 1);
    open.push(tensor);
  };
  roots.forEach(use);
  while (open.length) {
    const tensor = open.pop()!;
    if (seen.has(tensor)) continue;
    seen.add(tensor);
    const { source } = tensor;
    if (source.kind === "view") open.push(source.of);
    else if (source.kind === "input") inputs.add(tensor);
    else if (source.kind === "pack") {
      packs.add(tensor);
      source.parts.forEach((part) => use(part.tensor));
    } else if (source.kind === "node" && !nodes.has(source.node)) {
      nodes.add(source.node);
      for (const each of source.node.inputs) if (each) use(each);
    }
  }
  return {
    nodes: [...nodes].sort((a, b) => a.id - b.id),
    packs: [...packs],
    inputs: [...inputs],
    uses,
  };
}

/** The program as text: one line a dispatch, with slots and bytes. For reading and for tests. */
export function programText(program: Program): string {
  const name = ({ buffer, offsetBytes }: Location) =>
    (buffer.kind === "slot" ? `#${buffer.slot}` : buffer.variable.name) + (offsetBytes ? `+${offsetBytes}` : "");
  const lines = program.steps.map((step, index) => {
    const reads = step.bindings.filter((bound) => bound.access === "read").map(name);
    const writes = step.bindings.filter((bound) => bound.access === "read_write").map(name);
    const what = step.kind === "copy" ? "copy" : step.node.op.name;
    const where = step.kind === "copy" ? step.scope : step.node.scope;
    return `${index} ${what}(${reads.join(", ")}) -> ${writes.join(", ")}${where ? `  ${where}` : ""}`;
  });
  return [
    ...lines,
    `slots ${program.slots.join(" ")} bytes; variables ${
      program.variables.reduce((a, variable) => a + byteLength(variable), 0)
    } bytes; peak ${program.peakBytes} bytes`,
  ].join("\n");
}
