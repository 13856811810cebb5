import { SafetensorsFile, type TensorData, writeSafetensors } from "../../formats/safetensors.ts";

/** A tensor on the host. */
export interface NamedTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array;
}

/** Tensors by name, as a probe reads and writes them. */
export type TensorSet = Map<string, NamedTensor>;

const integerTypes = new Set(["I64", "I32", "I16", "I8", "U8", "BOOL"]);

/** Reads all tensors of a file; integers as int32, all else as float32. */
export async function readTensorSet(path: string): Promise<TensorSet> {
  await using file = await SafetensorsFile.open(path);
  const set: TensorSet = new Map();
  for (const [name, { type, shape }] of file.tensors) {
    set.set(name, { shape, data: integerTypes.has(type) ? await file.int32(name) : await file.float32(name) });
  }
  return set;
}

/** Writes tensors as F32 and I32. */
export async function writeTensorSet(path: string, set: TensorSet): Promise<void> {
  const tensors = [...set].map(([name, { shape, data }]): TensorData => ({
    name,
    shape,
    type: data instanceof Int32Array ? "I32" : "F32",
    bytes: new Uint8Array(data.slice().buffer as ArrayBuffer),
  }));
  await writeSafetensors(path, tensors);
}

/** The tensor of that name; an error that lists what is there when it is missing. */
export function tensorOf(set: TensorSet, name: string): NamedTensor {
  const found = set.get(name);
  if (!found) {
    throw new TypeError(
      `Cannot probe: the input has no tensor ${name}; it has ${[...set.keys()].slice(0, 12).join(", ")}`,
    );
  }
  return found;
}

/** Entry `index` along the first axis. */
export function entryOf({ shape, data }: NamedTensor, index: number): NamedTensor {
  const size = data.length / shape[0];
  return { shape: shape.slice(1), data: data.slice(index * size, (index + 1) * size) };
}

/** A one-element tensor. */
export function scalar(value: number): NamedTensor {
  return { shape: [1], data: new Float32Array([value]) };
}

/**
 * The sets of a file: tensors that share what stands before `name`. `8x8.sample` gives the set `8x8.`, `sample` alone the set "". A golden's results
 * (`grad.sample`, `block.…`, `quiet.…`) are no sets.
 *
 * @param name The tensor that every set has, such as `sample`.
 * @throws {TypeError} If there is no such set.
 */
export function setsOf(set: TensorSet, name: string): string[] {
  const found = optionalSetsOf(set, name);
  // Asking for the tensor says what is there instead.
  if (found.length === 0) tensorOf(set, name);
  return found;
}

/** As `setsOf`; none is fine. */
export function optionalSetsOf(set: TensorSet, name: string): string[] {
  return [...set.keys()]
    .filter((key) => key === name || key.endsWith(`.${name}`))
    .map((key) => key.slice(0, -name.length))
    .filter((prefix) => !/^(grad|block|quiet)\./.test(prefix));
}

/** Pictures `[batch, channels, height, width]` as the engine wants them, `[batch, height, width, channels]`. */
export function toNhwc({ shape: [batch, channels, height, width], data }: NamedTensor): NamedTensor {
  const result = new Float32Array(data.length), cells = height * width;
  for (let b = 0; b < batch; b++) {
    for (let c = 0; c < channels; c++) {
      for (let i = 0; i < cells; i++) result[(b * cells + i) * channels + c] = data[(b * channels + c) * cells + i];
    }
  }
  return { shape: [batch, height, width, channels], data: result };
}

/** Pictures `[batch, height, width, channels]` as PyTorch has them, `[batch, channels, height, width]`. */
export function toNchw({ shape: [batch, height, width, channels], data }: NamedTensor): NamedTensor {
  const result = new Float32Array(data.length), cells = height * width;
  for (let b = 0; b < batch; b++) {
    for (let c = 0; c < channels; c++) {
      for (let i = 0; i < cells; i++) result[(b * channels + c) * cells + i] = data[(b * cells + i) * channels + c];
    }
  }
  return { shape: [batch, channels, height, width], data: result };
}

/** True where a name starts so. */
export function hasAny(set: TensorSet, start: string): boolean {
  return [...set.keys()].some((name) => name.startsWith(start));
}
