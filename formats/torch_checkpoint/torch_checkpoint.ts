import { type ByteSource, memorySource, openFileSource } from "../byte_source.ts";
import { ELEMENT_SIZE_BYTES } from "../element_types.ts";
import { type ByteRange, TensorFile, type TensorFileFormat, type TensorInfo } from "../tensor_file.ts";
import { recogniseFormat } from "../tensor_file_format.ts";
import { Fault, TorchCheckpointError } from "./error.ts";
import { readLegacyFile, type TorchContent } from "./legacy_file.ts";
import type { StoredBytes } from "./stored_bytes.ts";
import { gather, layOut, type TensorLayout } from "./tensor_layout.ts";
import { Unpickler } from "./unpickler.ts";
import { PickleDict, type PickleValue, TensorRef } from "./values.ts";
import { readArchive } from "./zip_archive.ts";

export { TorchCheckpointError, type TorchFault } from "./error.ts";

/** Stable Diffusion's pickle has 300 kB, with an optimizer's state 2 MB. */
const maxPickleBytes = 2 ** 25;
/** How deep dicts with tensors are looked for. */
const maxDepth = 4;

/** A tensor of a checkpoint. */
export interface TorchTensorInfo extends TensorInfo {
  readonly storage: StoredBytes;
  readonly layout: TensorLayout;
}

/** How a checkpoint is opened. */
export interface TorchCheckpointOptions {
  /**
   * Keys that lead to the dict whose tensors are wanted; [] is the outermost. When left out it is `state_dict` if there
   * is one that holds tensors, as Lightning writes it, otherwise the outermost.
   */
  readonly within?: readonly string[];
}

/**
 * A file of `torch.save()` open for reading, of PyTorch 1.6 and later (a zip archive) or before. The pickle is read as
 * data, no code is run; tensors are read one at a time when asked for, views of a larger storage too.
 */
export class TorchCheckpoint extends TensorFile<TorchTensorInfo> {
  override readonly tensors: ReadonlyMap<string, TorchTensorInfo>;
  /** Texts and numbers of the outermost dict, such as `epoch` and `global_step`; null if it has none. */
  override readonly metadata: ReadonlyMap<string, string> | null;
  /** Keys that lead to the dict of these tensors. */
  readonly within: readonly string[];

  private constructor(
    path: string,
    override readonly format: TensorFileFormat,
    private readonly source: ByteSource,
    private readonly content: TorchContent,
    within?: readonly string[],
  ) {
    super(path);
    this.within = within ?? (tensorsIn(dictAt(content.root, ["state_dict"])).length > 0 ? ["state_dict"] : []);
    this.tensors = this.#locate();
    this.metadata = notesIn(content.root);
  }

  /**
   * Opens a file. Close it, or declare it with `await using`.
   *
   * @throws {TorchCheckpointError} If the file is not sound, names what could run code, or holds no tensors there.
   * @throws What the file system throws where it cannot be opened.
   */
  static async open(path: string, options: TorchCheckpointOptions = {}): Promise<TorchCheckpoint> {
    const source = await openFileSource(path);
    try {
      return await TorchCheckpoint.fromSource(source, path, options);
    } catch (error) {
      await source.close();
      throw error;
    }
  }

  /**
   * Reads from bytes in memory; tensors are copied out of them.
   *
   * @param name What to call the bytes in errors.
   * @throws {TorchCheckpointError} As {@link open}.
   */
  static fromBytes(bytes: Uint8Array, name: string, options: TorchCheckpointOptions = {}): Promise<TorchCheckpoint> {
    return TorchCheckpoint.fromSource(memorySource(bytes, name), name, options);
  }

  /**
   * Reads from a source, which the checkpoint then owns.
   *
   * @param name What to call it in errors.
   * @throws {TorchCheckpointError} As {@link open}; the source is then still open.
   */
  static async fromSource(
    source: ByteSource,
    name: string,
    { within }: TorchCheckpointOptions = {},
  ): Promise<TorchCheckpoint> {
    const format = await recogniseFormat(source, name);
    if (format === "safetensors") {
      throw new TorchCheckpointError("not_checkpoint", name, null, "this is a safetensors file, no PyTorch checkpoint");
    }
    try {
      const content = format === "torch zip" ? await readZipFile(source) : await readLegacyFile(source, maxPickleBytes);
      return new TorchCheckpoint(name, format, source, content, within);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      throw new TorchCheckpointError(error.kind, name, null, error.message, { cause: error });
    }
  }

  #locate(): Map<string, TorchTensorInfo> {
    const found = tensorsIn(dictAt(this.content.root, this.within));
    if (found.length === 0) {
      const where = this.within.length ? ` under ${this.within.map((key) => JSON.stringify(key)).join(", ")}` : "";
      const others = dictsWithTensors(this.content.root).map((keys) => JSON.stringify(keys));
      const hint = others.length ? `; there are some under ${others.slice(0, 5).join(" and ")}` : "";
      throw new Fault("not_tensors", `it holds no tensors with names${where}${hint}`);
    }
    return new Map(found.map(([name, ref]) => [name, this.#locateTensor(name, ref)]));
  }

  #locateTensor(name: string, ref: TensorRef): TorchTensorInfo {
    const fail = (error: Fault) =>
      new TorchCheckpointError(error.kind, this.path, name, error.message, { cause: error });
    try {
      const layout = layOut(ref), elementBytes = ELEMENT_SIZE_BYTES[layout.type];
      const storage = this.content.storages.get(ref.storage.key);
      if (storage === undefined) {
        throw new Fault("missing", `its storage ${JSON.stringify(ref.storage.key)} is not in the file`);
      }
      if (ref.storage.count * elementBytes > storage.sizeBytes) {
        const wanted = ref.storage.count * elementBytes;
        throw new Fault("bounds", `its storage has ${storage.sizeBytes} bytes, expected ${wanted}; get the file again`);
      }
      return { name, type: layout.type, shape: layout.shape, sizeBytes: layout.count * elementBytes, storage, layout };
    } catch (error) {
      throw error instanceof Fault ? fail(error) : error;
    }
  }

  protected override async readBytes(info: TorchTensorInfo, range: ByteRange): Promise<Uint8Array<ArrayBuffer>> {
    const { storage, layout } = info, elementBytes = ELEMENT_SIZE_BYTES[layout.type];
    const start = layout.start * elementBytes, { startBytes, sizeBytes } = range;
    try {
      if (layout.isContiguous) return await storage.read(start + startBytes, sizeBytes);
      const all = gather(await storage.read(start, layout.span * elementBytes), layout);
      return sizeBytes === all.length ? all : all.slice(startBytes, startBytes + sizeBytes);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      throw new TorchCheckpointError(error.kind, this.path, info.name, error.message, { cause: error });
    }
  }

  override close(): Promise<void> {
    return this.source.close();
  }
}

async function readZipFile(source: ByteSource): Promise<TorchContent> {
  const entries = await readArchive(source);
  const pickle = entries.get("data.pkl");
  if (pickle === undefined) throw new Fault("zip", "the archive has no data.pkl: torch.save() did not write it");
  if (pickle.sizeBytes > maxPickleBytes) {
    throw new Fault("limit", `its pickle has ${pickle.sizeBytes} bytes, expected up to ${maxPickleBytes}`);
  }
  const order = entries.get("byteorder");
  if (order !== undefined) {
    const text = String.fromCharCode(...await order.read(0, Math.min(order.sizeBytes, 16)));
    if (text !== "little") {
      throw new Fault("unsupported", `its byte order is ${JSON.stringify(text)}, expected "little"`);
    }
  }
  const root = new Unpickler(await pickle.read(0, pickle.sizeBytes)).read();
  const storages = new Map<string, StoredBytes>();
  for (const [name, entry] of entries) if (name.startsWith("data/")) storages.set(name.slice("data/".length), entry);
  return { root, storages };
}

function dictAt(root: PickleValue, keys: readonly string[]): PickleDict | null {
  let value: PickleValue | undefined = root;
  for (const key of keys) value = value instanceof PickleDict ? value.get(key) : undefined;
  return value instanceof PickleDict ? value : null;
}

function tensorsIn(dict: PickleDict | null): [string, TensorRef][] {
  const found: [string, TensorRef][] = [];
  for (const [name, value] of dict?.entries() ?? []) {
    if (typeof name === "string" && value instanceof TensorRef) found.push([name, value]);
  }
  return found;
}

/** Keys that lead to dicts with tensors; each dict once, however often it is met. */
function dictsWithTensors(root: PickleValue): string[][] {
  const found: string[][] = [], seen = new Set<PickleValue>();
  const visit = (value: PickleValue, keys: string[]) => {
    if (!(value instanceof PickleDict) || seen.has(value) || keys.length > maxDepth) return;
    seen.add(value);
    if (tensorsIn(value).length > 0) found.push(keys);
    for (const [key, inner] of value.entries()) if (typeof key === "string") visit(inner, [...keys, key]);
  };
  visit(root, []);
  return found;
}

function notesIn(root: PickleValue): Map<string, string> | null {
  const notes = new Map<string, string>();
  for (const [key, value] of root instanceof PickleDict ? root.entries() : []) {
    const isNote = ["string", "bigint", "number", "boolean"].includes(typeof value);
    if (typeof key === "string" && isNote) notes.set(key, String(value));
  }
  return notes.size > 0 ? notes : null;
}
