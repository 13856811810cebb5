import type { ByteSource } from "../byte_source.ts";
import { ELEMENT_SIZE_BYTES } from "../element_types.ts";
import { Fault } from "./error.ts";
import type { StoredBytes } from "./stored_bytes.ts";
import { Unpickler } from "./unpickler.ts";
import { PickleDict, type PickleValue } from "./values.ts";

/** What PyTorch before 1.6 puts in front. */
const magicNumber = 0x1950a86a20f9469cfc6cn;
const protocolVersion = 1001n;
const countBytes = 8;

/** A checkpoint's pickled value and the storages of its tensors, by key. */
export interface TorchContent {
  readonly root: PickleValue;
  readonly storages: ReadonlyMap<string, StoredBytes>;
}

/**
 * Reads a file as PyTorch wrote it before version 1.6: five pickles (magic number, protocol, machine, value, keys of the
 * storages), then for each key the number of elements and the elements.
 *
 * @param maxPickleBytes The pickles may not be longer.
 * @throws {Fault} If it is none, damaged, or names what could run code.
 */
export async function readLegacyFile(source: ByteSource, maxPickleBytes: number): Promise<TorchContent> {
  const windowBytes = Math.min(source.sizeBytes, maxPickleBytes);
  const unpickler = new Unpickler(await source.read(0, windowBytes));
  const next = () => {
    try {
      return unpickler.read();
    } catch (error) {
      const isLimit = error instanceof Fault && error.kind === "truncated" && windowBytes < source.sizeBytes;
      throw isLimit ? new Fault("limit", `its pickles have more than ${maxPickleBytes} bytes`) : error;
    }
  };
  if (next() !== magicNumber) {
    throw new Fault(
      "not_checkpoint",
      "it is a pickle, but none that torch.save() wrote: the magic number is not there",
    );
  }
  const protocol = next();
  if (protocol !== protocolVersion) throw new Fault("unsupported", `it has protocol ${protocol}, expected 1001`);
  const machine = next();
  if (machine instanceof PickleDict && machine.get("little_endian") === false) {
    throw new Fault("unsupported", "it was written with the high byte of numbers first");
  }
  const root = next();
  const keys = next();
  if (!Array.isArray(keys)) throw new Fault("pickle", "the list of storage keys is missing");
  return { root, storages: await findStorages(source, unpickler, keys) };
}

async function findStorages(
  source: ByteSource,
  unpickler: Unpickler,
  keys: readonly PickleValue[],
): Promise<Map<string, StoredBytes>> {
  const storages = new Map<string, StoredBytes>();
  let position = unpickler.position;
  for (const key of keys) {
    const spec = typeof key === "string" ? unpickler.storages.get(key) : undefined;
    if (spec === undefined || storages.has(spec.key)) {
      throw new Fault(
        "pickle",
        `the list of storage keys holds ${describe(key)}, which no tensor names or is there twice`,
      );
    }
    if (spec.type === null) throw new Fault("unsupported", `a storage is a ${spec.typeName}, which is not read here`);
    if (position + countBytes > source.sizeBytes) throw endsBefore(spec.key);
    const count = new DataView((await source.read(position, countBytes)).buffer).getBigInt64(0, true);
    const start = position + countBytes, sizeBytes = spec.count * ELEMENT_SIZE_BYTES[spec.type];
    if (count < 0n) throw new Fault("bounds", `storage ${spec.key} has ${count} elements`);
    if (count * BigInt(ELEMENT_SIZE_BYTES[spec.type]) > source.sizeBytes - start) throw endsBefore(spec.key);
    if (count !== BigInt(spec.count)) {
      throw new Fault("bounds", `storage ${spec.key} has ${count} elements, but its tensors expect ${spec.count}`);
    }
    storages.set(spec.key, { sizeBytes, read: (from, size) => source.read(start + from, size) });
    position = start + sizeBytes;
  }
  return storages;
}

function endsBefore(key: string): Fault {
  return new Fault("truncated", `the file ends before the end of storage ${key}; get it again`);
}

function describe(key: PickleValue): string {
  return typeof key === "string" ? JSON.stringify(key) : "something that is no text";
}
