import {
  guaranteedBufferBytes,
  type Node,
  originOf,
  type PackPart,
  type Tensor,
  type Variable,
} from "../graph/tensor.ts";
import { bufferBytes, byteLength, bytesPerElement, elementCount, type TensorType } from "../graph/types.ts";
import { aligned, bytesTogether, findBundles } from "./bundles.ts";
import { collect } from "./collect.ts";
import { fuse } from "./fuse.ts";
import { Overwrites } from "./overwrites.ts";
import { sideBySide } from "./side_by_side.ts";
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
  | {
    readonly kind: "node";
    readonly node: Node;
    readonly bindings: readonly Binding[];
    /** It does not need the step before it, nor shares a buffer with what that writes: one dispatch may run both. */
    readonly beside: boolean;
  }
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
  /** Whether one dispatch may run several steps. */
  readonly fused: boolean;
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
  /**
   * False: nodes stay as they were traced, one after another. Joined where that saves dispatches when left out: see `fuse`, `sideBySide`. Nodes side by
   * side give the same bits as they give alone.
   */
  readonly fused?: boolean;
  /** Most bytes that tensors laid into one buffer for a shared dispatch may take together; what every adapter's buffers hold when left out. */
  readonly togetherBytes?: number;
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
 * @throws {TypeError} If a node or an output is to read a variable, or what an op has left in one, after it was overwritten.
 */
export function plan(options: PlanOptions): Program {
  const { outputs: wanted = {}, effects = [], fused = true, togetherBytes = guaranteedBufferBytes } = options;
  const names = Object.keys(wanted), traced = [...Object.values(wanted), ...effects];
  const roots = fused ? fuse(traced) : traced;
  const outputs = Object.fromEntries(names.map((name, i) => [name, roots[i]]));
  const { nodes, packs, inputs: inputTensors, uses } = collect(roots);
  new Overwrites(nodes).check(outputs);
  const places = new Map<Tensor, Place>();
  const byOutput = new Map<Node, (Place | undefined)[]>();
  const storages: Storage[] = [];
  // Lives grow with the steps that touch them; what is fed is there from the start.
  const newStorage = (sizeBytes: number, first = Infinity): Storage => {
    const storage = { sizeBytes: bufferBytes(sizeBytes), first, last: -1 };
    storages.push(storage);
    return storage;
  };

  const times = fused ? sideBySide(nodes) : nodes.map((node) => [[node]]);
  const packOf = packsInPlace(packs, uses), bundles = findBundles(times.flat(), packOf, togetherBytes);
  /** Places for tensors one after another in one buffer, in which they live as long as the longest. */
  const placesTogether = (types: readonly TensorType[], first?: number): Place[] => {
    const offsets: number[] = [];
    let end = 0;
    for (const type of types) {
      offsets.push(aligned(end));
      end = offsets.at(-1)! + byteLength(type);
    }
    const storage = newStorage(end, first);
    return offsets.map((offsetBytes) => ({ storage, offsetBytes }));
  };
  const setPlaces = (tensors: readonly Tensor[], first?: number) =>
    placesTogether(tensors, first).forEach((place, i) => places.set(tensors[i], place));
  const alone = <T>(all: readonly T[], together: readonly (readonly T[])[]) => {
    const bundled = new Set(together.flat());
    return all.flatMap((each) => bundled.has(each) ? [] : [[each]]);
  };

  // Parts that only their pack wants are computed in place; others are copied when the pack is first needed.
  const inPlace = new Map<Node, Place>();
  const copies = new Map<Node | null, { from: Tensor; to: Place }[]>();
  // Packs to clear before their first part is written.
  const unclean = new Map<Storage, { place: Place; tensor: Tensor }[]>();
  for (const together of [...bundles.packs, ...alone(packs, bundles.packs)]) {
    setPlaces(together);
    for (const tensor of together) {
      const place = places.get(tensor)!, storage = place.storage as Storage;
      const { parts } = tensor.source as { parts: readonly PackPart[] };
      if (!isCovered(parts, tensor)) unclean.set(storage, [...unclean.get(storage) ?? [], { place, tensor }]);
      for (const part of parts) {
        const at = { storage, offsetBytes: place.offsetBytes + part.offsetElements * bytesPerElement[tensor.dtype] };
        const { source } = originOf(part.tensor), maker = source.kind === "node" ? source.node : null;
        if (maker && packOf.get(maker) === tensor) inPlace.set(maker, at);
        else copies.set(maker, [...(copies.get(maker) ?? []), { from: part.tensor, to: at }]);
      }
    }
  }
  for (const together of [...bundles.inputs, ...alone(inputTensors, bundles.inputs)]) setPlaces(together, -1);

  const variables = new Set<Variable>();
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
    } else if (source.kind === "node") {
      found = byOutput.get(source.node)![source.output]!;
    } else throw new Error("inputs and packs are placed before they are used");
    places.set(tensor, found);
    return found;
  };
  type Bound = { place: Place; tensor: TensorType; access: Binding["access"] };
  type Draft = { kind: Step["kind"]; node?: Node; scope: string; bindings: Bound[]; beside?: boolean };
  const drafts: Draft[] = [];
  /** Steps that run at the same time. */
  const emit = (...together: Draft[]) => {
    for (const { scope, bindings } of together) {
      for (const { place: { storage } } of bindings) {
        const cleared = unclean.get(storage as Storage) ?? [];
        unclean.delete(storage as Storage);
        for (const bound of cleared) emit({ kind: "clear", scope, bindings: [{ ...bound, access: "read_write" }] });
      }
    }
    const first = drafts.length, last = first + together.length - 1;
    for (const { place: { storage } } of together.flatMap(({ bindings }) => bindings)) {
      if (!("last" in storage)) continue;
      storage.first = Math.min(storage.first, first);
      storage.last = Math.max(storage.last, last);
    }
    drafts.push(...together);
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

  const copied = new Map<Variable, Place>();
  for (const together of bundles.variables) {
    placesTogether(together).forEach((to, i) => {
      const from = together[i].tensor;
      copied.set(together[i], to);
      copies.set(null, [...(copies.get(null) ?? []), { from, to }]);
    });
  }
  /** Where a node that others run beside reads a tensor. */
  const sharedPlace = (tensor: Tensor): Place => {
    const at = place(tensor);
    // What an op left in a variable lies in the variable itself; the copy has what was there when the run began.
    const copy = originOf(tensor).source.kind === "variable" ? copied.get(at.storage as Variable) : undefined;
    return copy ? { ...copy, offsetBytes: copy.offsetBytes + at.offsetBytes } : at;
  };
  const draftOf = (node: Node, made: readonly Place[] | null): Draft => {
    const count = node.op.overwrites ?? 0, placeOf = made ? sharedPlace : place;
    const bindings: Draft["bindings"] = [];
    for (const [index, tensor] of node.inputs.entries()) {
      if (tensor) bindings.push({ place: placeOf(tensor), tensor, access: index < count ? "read_write" : "read" });
    }
    if (count) byOutput.set(node, bindings.slice(0, count).map((bound) => bound.place));
    else {
      byOutput.set(
        node,
        node.outputs.map((type, output) => {
          const at = inPlace.get(node) ?? made?.[output] ?? placesTogether([type])[0];
          bindings.push({ place: at, tensor: type, access: "read_write" });
          return at;
        }),
      );
    }
    return { kind: "node", node, scope: node.scope, bindings };
  };

  emitCopies(null);
  for (const sets of times) {
    const together = sets.flatMap((alike) => {
      const free = alike.length > 1 ? alike.filter((node) => !inPlace.has(node)) : [];
      const made = new Map<Node, Place[]>();
      for (const each of partsOf(free, togetherBytes)) {
        const places = each[0].outputs.map((type) => placesTogether(each.map(() => type)));
        each.forEach((node, i) => made.set(node, places.map((all) => all[i])));
      }
      return alike.map((node) => draftOf(node, alike.length > 1 ? made.get(node) ?? [] : null));
    });
    emit(...together.map((draft, index) => ({ ...draft, beside: index > 0 })));
    sets.flat().forEach(emitCopies);
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
    fused,
    peakBytes: total(slots) + variableBytes([...variables]),
    lives: storages.map((storage) => ({
      slot: slotOf.get(storage)!,
      sizeBytes: storage.sizeBytes,
      first: storage.first,
      last: storage.last,
    })),
  };
}

/** Alike nodes in parts, so that of none of their outputs those of one part take more bytes together. */
function partsOf(nodes: readonly Node[], mostBytes: number): Node[][] {
  const parts: Node[][] = [];
  for (const node of nodes) {
    const part = parts.at(-1), next = [...part ?? [], node];
    if (
      part && node.outputs.every((_, output) => bytesTogether(next.map(({ outputs }) => outputs[output])) <= mostBytes)
    ) {
      part.push(node);
    } else parts.push([node]);
  }
  return parts;
}

/** The pack in which each node's result is computed: the only one that wants it. */
function packsInPlace(packs: readonly Tensor[], uses: ReadonlyMap<Tensor, number>): Map<Node, Tensor> {
  const packOf = new Map<Node, Tensor>();
  for (const tensor of packs) {
    const { parts } = tensor.source as { parts: readonly PackPart[] };
    for (const part of parts) {
      const origin = originOf(part.tensor), { source } = origin;
      const isWhole = elementCount(origin.shape) === elementCount(part.tensor.shape);
      if (
        source.kind === "node" && isWhole && uses.get(origin) === 1 && source.node.outputs.length === 1 &&
        !source.node.op.overwrites
      ) packOf.set(source.node, tensor);
    }
  }
  return packOf;
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
