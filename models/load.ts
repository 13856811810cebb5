import { byteLength, type Device, type ReadFormat } from "../engine/mod.ts";
import { weightByRule } from "../formats/weights_by_rule.ts";
import type { OnBytes } from "./checkpoint/model_folder.ts";
import { OpenedPart, readElements } from "./checkpoint/opened_part.ts";
import type { PartFiles } from "./checkpoint/part_files.ts";
import { toEngineLayout, type Weights, type WeightSpec } from "./weights.ts";

/** What becomes of a part's weight, by its key, before it is put on the device: a function of its f32 elements in PyTorch's layout, or null where it stays. */
export type ChangeWeight = (key: string) => ((values: Float32Array) => Float32Array) | null;

/** Hears how far loading is. */
export interface LoadProgress {
  /** Bytes of a weight that has been put on the device. */
  readonly onLoaded?: (sizeBytes: number) => void;
  /** Bytes of a file that came from the hub. */
  readonly onFetched?: OnBytes;
}

/** What was read from a part's files. */
export interface LoadReport {
  /** The file, or the first of several. */
  readonly file: string;
  /** Tensors of this part that the model has no place for; worth a warning. */
  readonly unknownKeys: readonly string[];
}

/** Uploads wait in host memory until the device takes them; after so many bytes they are waited for. */
const waitEveryBytes = 2 ** 26;

/**
 * Fills a model's weights from a part's files, one tensor at a time.
 *
 * @throws {Error} If a file is missing, or the files lack weights.
 * @throws {TypeError} If a tensor has another shape than the model, or holds integers.
 * @throws {TensorFileError} If a file is not sound.
 */
export async function loadWeights(
  device: Device,
  weights: Weights,
  part: PartFiles,
  options: LoadProgress & { readonly change?: ChangeWeight } = {},
): Promise<LoadReport> {
  await using opened = await OpenedPart.open(part, options.onFetched);
  const stored = opened.find(weights);
  const read = async (spec: WeightSpec) => {
    const elements = await readElements(stored.get(spec)!), change = options.change?.(spec.key);
    return change ? change(Float32Array.from(elements)) : elements;
  };
  await fillWeights(device, weights, read, options);
  return { file: opened.files[0].path, unknownKeys: opened.unknownKeys(stored) };
}

/** Fills a model's weights by rule, from their names and the salt: for checks without a checkpoint. */
export async function fillWeightsByRule(
  device: Device,
  weights: Weights,
  { salt = 0 }: { salt?: number } = {},
): Promise<void> {
  await fillWeights(device, weights, ({ key, shape }) => weightByRule(`${weights.name}.${key}`, shape, salt));
}

/**
 * Fills a model's weights from a function, rounded to the format that they are stored in.
 *
 * @param read Gives a weight's elements in the checkpoint's layout.
 */
export async function fillWeights(
  device: Device,
  weights: Weights,
  read: (spec: WeightSpec) => Float32Array | Float16Array | Promise<Float32Array | Float16Array>,
  { onLoaded }: Pick<LoadProgress, "onLoaded"> = {},
): Promise<void> {
  let waitingBytes = 0;
  for (const spec of weights.all) {
    device.upload(
      spec.variable,
      toEngineLayout(await read(spec), spec.shape, spec.layout, spec.variable.dtype as ReadFormat),
    );
    const sizeBytes = byteLength(spec.variable);
    waitingBytes += sizeBytes;
    if (waitingBytes >= waitEveryBytes) {
      // Reading nothing waits for all that was queued before.
      await device.readBuffers([]);
      waitingBytes = 0;
    }
    onLoaded?.(sizeBytes);
  }
}
