import type { Shape } from "../../engine/mod.ts";
import { decodeFloat32 } from "../../formats/element_types.ts";
import { openTensorFile } from "../../formats/open_tensor_file.ts";
import type { TensorFile, TensorInfo } from "../../formats/tensor_file.ts";
import type { Weights, WeightSpec } from "../weights.ts";
import { ldmShape } from "./ldm_keys.ts";
import type { OnBytes } from "./model_folder.ts";
import type { PartFiles } from "./part_files.ts";

/** Where a weight is stored. */
export interface StoredWeight {
  readonly file: TensorFile;
  readonly info: TensorInfo;
}

/** A part's files, open for reading. */
export class OpenedPart implements AsyncDisposable {
  private constructor(private readonly part: PartFiles, readonly files: readonly TensorFile[]) {}

  /**
   * Opens the files; those of a folder on the hub are fetched first.
   *
   * @throws {TensorFileError} If one is not sound.
   */
  static async open(part: PartFiles, onFetched?: OnBytes): Promise<OpenedPart> {
    const paths = await part.weightFiles(onFetched), files: TensorFile[] = [];
    try {
      for (const path of paths) files.push(await openTensorFile(path));
    } catch (error) {
      for (const file of files) await file.close();
      throw error;
    }
    return new OpenedPart(part, files);
  }

  /**
   * Finds every weight of a model.
   *
   * @throws {Error} If weights are missing.
   * @throws {TypeError} If a tensor has another shape than the model.
   */
  find(weights: Weights): Map<WeightSpec, StoredWeight> {
    const { part, files } = this, found = new Map<WeightSpec, StoredWeight>(), missing: WeightSpec[] = [];
    for (const spec of weights.all) {
      const stored = this.locate(part.names.of(spec.key));
      if (stored) found.set(spec, stored);
      else missing.push(spec);
    }
    const name = files.length === 1 ? files[0].path : part.name, wanted = `Does it belong to ${part.config.file}?`;
    if (missing.length > 0) {
      const { key, shape } = missing[0], more = missing.length > 1 ? ` and ${missing.length - 1} more` : "";
      const tensors = files.reduce((total, file) => total + file.tensors.size, 0);
      throw new Error(
        `Cannot load ${name}: it lacks ${part.names.of(key)[0]}, expected with shape ${text(shape)}${more}; it has ` +
          `${tensors} tensors. ${wanted}`,
      );
    }
    for (const [{ key, shape }, { info }] of found) {
      // A 1×1 convolution and a linear layer hold the same numbers in the same order.
      const shapes = [shape, ldmShape(part.part, key, shape)].map(text);
      if (shapes.includes(text(info.shape))) continue;
      throw new TypeError(
        `Cannot load ${name}: ${info.name} has shape ${text(info.shape)}, expected ${shapes[0]}. ${wanted}`,
      );
    }
    return found;
  }

  /** Tensors of this part that no weight was found in. */
  unknownKeys(found: ReadonlyMap<WeightSpec, StoredWeight>): string[] {
    const used = new Set([...found.values()].map(({ info }) => info.name));
    return this.files.flatMap((file) => [...file.tensors.keys()]).filter((name) =>
      // Position ids are 0 to 76, whatever merged checkpoints hold.
      !used.has(name) && this.part.names.belongs(name) && !name.endsWith(".position_ids")
    );
  }

  private locate(names: readonly string[]): StoredWeight | null {
    for (const name of names) {
      for (const file of this.files) {
        const info = file.tensors.get(name);
        if (info) return { file, info };
      }
    }
    return null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const file of this.files) await file.close();
  }
}

/**
 * A weight's elements in the checkpoint's layout: f16 where they are stored so, f32 else.
 *
 * @throws {TypeError} If the tensor holds integers.
 */
export async function readElements({ file, info }: StoredWeight): Promise<Float32Array | Float16Array> {
  const bytes = await file.bytes(info.name), isAligned = bytes.byteOffset % 4 === 0;
  if (info.type === "F16" && isAligned) return new Float16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  if (info.type === "F32" && isAligned) return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  try {
    return decodeFloat32(bytes, info.type);
  } catch (error) {
    const message = `Cannot load ${file.path}, tensor ${info.name}: ${(error as Error).message}`;
    throw new TypeError(message, { cause: error });
  }
}

function text(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}
