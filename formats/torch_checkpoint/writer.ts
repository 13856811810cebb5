import { Buffer } from "node:buffer";
import { Readable } from "node:stream";
import yazl from "yazl";
import { writeFileAtomically } from "../atomic_file.ts";
import { countElements } from "../element_types.ts";
import { checkTensorNames, tensorBytes, type TensorData, tensorSizeBytes, type TensorSource } from "../tensor_data.ts";
import { PickleWriter, storageName } from "./pickle_writer.ts";

/** What a checkpoint is written with. */
export interface WriteTorchOptions {
  /** Puts the tensors into a dict under this key of the outermost, as Lightning does with `state_dict`. */
  readonly within?: string;
  /** Whole numbers of the outermost dict beside it, such as `epoch` and `global_step`. */
  readonly counters?: ReadonlyMap<string, number>;
}

// The same tensors give the same bytes, whenever they are written.
const entryOptions = { compress: false, mtime: new Date(1980, 0, 1), forceDosTimestamp: true };

/**
 * Writes a checkpoint as `torch.save()` does since PyTorch 1.6 (.ckpt, .pt, .bin): a dict of tensors, each with a storage of its own. The
 * path holds either the old file or the whole new one at any moment.
 *
 * @param path The folder must exist.
 * @param tensors In the order of the dict; values are written as they are, NaN too. Sources are asked for one at a time.
 * @throws {TypeError} If a name is taken twice or not well formed, or bytes and shape do not fit.
 * @throws What the file system throws; an existing file is then untouched.
 */
export async function writeTorchCheckpoint(
  path: string,
  tensors: readonly (TensorData | TensorSource)[],
  options: WriteTorchOptions = {},
): Promise<void> {
  checkTensorNames(tensors);
  const archive = new yazl.ZipFile();
  const output = archive.outputStream as Readable;
  // Without this the stream would wait for ever for an entry that cannot be made.
  const fail = (error: Error) => output.destroy(error);
  archive.on("error", fail);
  // The error is thrown where the stream is read; here it only must not count as unhandled before that.
  output.on("error", () => {});
  archive.addBuffer(Buffer.from(pickleOf(tensors, options)), "archive/data.pkl", entryOptions);
  archive.addBuffer(Buffer.from("little"), "archive/byteorder", entryOptions);
  for (const [index, tensor] of tensors.entries()) {
    const size = tensorSizeBytes(tensor);
    archive.addReadStreamLazy(`archive/data/${index}`, { ...entryOptions, size }, (give) => {
      tensorBytes(tensor).then((bytes) => give(null, Readable.from(inParts(bytes))), fail);
    });
  }
  archive.addBuffer(Buffer.from("3\n"), "archive/version", entryOptions);
  archive.end();
  // What a zip archive adds to it is little.
  const sizeBytes = tensors.reduce((sum, tensor) => sum + tensorSizeBytes(tensor), 0);
  await writeFileAtomically(path, output, { sizeBytes });
}

/** What a stream takes in one go: it holds several pieces at a time. */
const partBytes = 2 ** 20;

function* inParts(bytes: Uint8Array): Generator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += partBytes) yield bytes.subarray(start, start + partBytes);
}

function pickleOf(
  tensors: readonly (TensorData | TensorSource)[],
  { within, counters = new Map() }: WriteTorchOptions,
): Uint8Array<ArrayBuffer> {
  const pickle = new PickleWriter();
  const writeTensors = () => {
    for (const [index, tensor] of tensors.entries()) {
      pickle.text(tensor.name);
      writeTensor(pickle, tensor, index);
    }
  };
  pickle.dict(() => {
    for (const [name, count] of counters) {
      pickle.text(name);
      pickle.integer(count);
    }
    if (within === undefined) return writeTensors();
    pickle.text(within);
    pickle.dict(writeTensors);
  });
  return pickle.finish();
}

/** `torch._utils._rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict())`. */
function writeTensor(pickle: PickleWriter, { type, shape }: Pick<TensorData, "type" | "shape">, index: number): void {
  pickle.global("torch._utils", "_rebuild_tensor_v2");
  pickle.tuple(() => {
    pickle.tuple(() => {
      pickle.text("storage");
      pickle.global("torch", storageName(type));
      pickle.text(String(index));
      pickle.text("cpu");
      pickle.integer(countElements(shape));
    });
    pickle.persistentId();
    pickle.integer(0);
    pickle.tuple(() => shape.forEach((size) => pickle.integer(size)));
    pickle.tuple(() => shape.forEach((_, axis) => pickle.integer(countElements(shape.slice(axis + 1)))));
    pickle.false();
    pickle.global("collections", "OrderedDict");
    pickle.tuple(() => {});
    pickle.call();
  });
  pickle.call();
}
