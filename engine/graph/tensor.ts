import type { Checkpoint } from "./checkpoint.ts";
import type { AnyOp } from "./op.ts";
import {
  byteLength,
  bytesPerElement,
  type DType,
  elementCount,
  type Shape,
  type TensorType,
  typeText,
} from "./types.ts";

/** One application of an op in the graph. */
export interface Node {
  /** Counts up in the order of tracing: inputs always have smaller ids, so ids are an order of execution. */
  readonly id: number;
  readonly op: AnyOp;
  /** In the order of the op's `inputs`; null where an optional one is left out. */
  readonly inputs: readonly (Tensor | null)[];
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly outputs: readonly TensorType[];
  /** Where in the model the node was made, such as `unet.down_blocks.0.resnets.0`. */
  readonly scope: string;
  /** The part that it belongs to for gradient checkpointing; null outside of all. */
  readonly checkpoint: Checkpoint | null;
  /** It computes again what gradient checkpointing did not keep. */
  readonly isRepeated: boolean;
}

/** Where a tensor's values come from. */
export type Source =
  | { readonly kind: "node"; readonly node: Node; readonly output: number }
  /** Fed anew for every run. */
  | { readonly kind: "input"; readonly name: string }
  /** A buffer that outlives runs and programs: weights, optimizer state. */
  | { readonly kind: "variable"; readonly variable: Variable }
  /** The same bytes under another shape, or a part of them: costs nothing. */
  | { readonly kind: "view"; readonly of: Tensor; readonly offsetElements: number }
  /** Tensors laid one after another in one buffer, each at its own offset, zeros between. */
  | { readonly kind: "pack"; readonly parts: readonly PackPart[] };

/** One tensor's place in a pack. */
export interface PackPart {
  readonly tensor: Tensor;
  readonly offsetElements: number;
}

/** A value in the graph: a type, and where it comes from. Never holds numbers. */
export class Tensor implements TensorType {
  readonly shape: Shape;
  readonly dtype: DType;

  constructor(type: TensorType, readonly source: Source) {
    this.shape = type.shape;
    this.dtype = type.dtype;
  }

  toString(): string {
    return typeText(this);
  }
}

/**
 * A named buffer that lives as long as the device: weights and optimizer state. Made without a GPU; the device allocates it
 * when a program that uses it is compiled or when values are uploaded.
 */
export class Variable implements TensorType {
  readonly shape: Shape;
  readonly dtype: DType;
  /** The variable as a value in a graph. */
  readonly tensor: Tensor;

  constructor(readonly name: string, type: TensorType) {
    this.shape = [...type.shape];
    this.dtype = type.dtype;
    this.tensor = new Tensor(this, { kind: "variable", variable: this });
  }
}

/** A value that every run of the program is fed, under this name. */
export function input(name: string, shape: Shape, dtype: DType = "f32"): Tensor {
  return new Tensor({ shape: [...shape], dtype }, { kind: "input", name });
}

/**
 * The same values under another shape, at no cost.
 *
 * @throws {TypeError} If the number of elements differs.
 */
export function reshape(x: Tensor, shape: Shape): Tensor {
  if (elementCount(shape) !== elementCount(x.shape)) {
    throw new TypeError(
      `Cannot reshape: [${x.shape.join(", ")}] has ${elementCount(x.shape)} elements, [${shape.join(", ")}] ${
        elementCount(shape)
      }`,
    );
  }
  return new Tensor({ shape: [...shape], dtype: x.dtype }, { kind: "view", of: x, offsetElements: 0 });
}

/** Offsets of windows and pack parts must be multiples of these bytes: WebGPU's alignment of bindings. */
export const bindingAlignmentBytes = 256;

/** Bytes that one binding can show a kernel on every adapter: WebGPU's default of `maxStorageBufferBindingSize`. */
export const guaranteedBindingBytes = 2 ** 27;

/** Bytes that one buffer can have on every adapter: WebGPU's default of `maxBufferSize`. */
export const guaranteedBufferBytes = 2 ** 28;

/**
 * A part of a flat tensor's bytes, from `offsetElements` on, read as `shape`; at no cost.
 *
 * @throws {RangeError} If the part leaves the tensor, or the offset is not a multiple of 256 bytes.
 */
export function window(x: Tensor, offsetElements: number, shape: Shape): Tensor {
  const size = elementCount(shape), total = elementCount(x.shape);
  if (offsetElements < 0 || offsetElements + size > total) {
    throw new RangeError(`Cannot take a window: elements ${offsetElements} to ${offsetElements + size} of ${total}`);
  }
  if (offsetElements * bytesPerElement[x.dtype] % bindingAlignmentBytes !== 0) {
    throw new RangeError(
      `Cannot take a window: offset ${offsetElements} is not a multiple of ${bindingAlignmentBytes} bytes`,
    );
  }
  return new Tensor({ shape: [...shape], dtype: x.dtype }, { kind: "view", of: x, offsetElements });
}

/** The tensor behind views. */
export function originOf(tensor: Tensor): Tensor {
  let origin = tensor;
  while (origin.source.kind === "view") origin = origin.source.of;
  return origin;
}

/** A part of a variable's buffer. */
export interface VariablePart {
  readonly variable: Variable;
  readonly beginBytes: number;
  readonly endBytes: number;
  /** The op that has left it so; null for the variable as it is when a run begins. */
  readonly leftBy: Node | null;
}

/** The part of a variable in which a tensor lies: the variable itself, or as an op has left it, or a view of these; null for all other tensors. */
export function variablePart(tensor: Tensor): VariablePart | null {
  let origin = tensor, beginBytes = 0, leftBy: Node | null = null;
  while (true) {
    const { source } = origin;
    if (source.kind === "variable") {
      return { variable: source.variable, beginBytes, endBytes: beginBytes + byteLength(tensor), leftBy };
    }
    if (source.kind === "view") {
      beginBytes += source.offsetElements * bytesPerElement[origin.dtype];
      origin = source.of;
    } else if (source.kind === "node" && source.output < (source.node.op.overwrites ?? 0)) {
      leftBy ??= source.node;
      origin = source.node.inputs[source.output]!;
    } else return null;
  }
}

/**
 * Lays tensors into one flat tensor, each at its own offset; what no part covers is zero. A part that is computed for the pack alone is
 * computed in place, so a pack usually costs nothing.
 *
 * @param offsetsElements Offset of each tensor; multiples of 256 bytes, rising, without overlap.
 * @returns `[sizeElements]`
 */
export function pack(tensors: readonly Tensor[], offsetsElements: readonly number[], sizeElements: number): Tensor {
  if (tensors.length === 0) throw new TypeError("Cannot pack: no tensors");
  const dtype = tensors[0].dtype;
  let end = 0;
  const parts = tensors.map((tensor, i) => {
    const offsetElements = offsetsElements[i];
    if (originOf(tensor).source.kind === "pack") throw new TypeError(`Cannot pack: part ${i} is a pack itself`);
    if (tensor.dtype !== dtype) throw new TypeError(`Cannot pack: part ${i} is ${tensor.dtype}, part 0 is ${dtype}`);
    if (offsetElements < end || offsetElements * bytesPerElement[dtype] % bindingAlignmentBytes !== 0) {
      throw new RangeError(`Cannot pack: offset ${offsetElements} of part ${i} overlaps or is not aligned`);
    }
    end = offsetElements + elementCount(tensor.shape);
    return { tensor, offsetElements };
  });
  if (end > sizeElements) throw new RangeError(`Cannot pack: parts end at ${end}, size is ${sizeElements}`);
  return new Tensor({ shape: [sizeElements], dtype }, { kind: "pack", parts });
}
