import { Buffer } from "node:buffer";
import { crc32, inflateRawSync } from "node:zlib";
import yauzl from "yauzl";
import type { ByteSource } from "../byte_source.ts";
import { Fault } from "./error.ts";
import type { StoredBytes } from "./stored_bytes.ts";

/** What PyTorch writes below the archive's one folder; later versions may add names that start with a dot. */
const knownName = /^([^/]+)\/((?:data\/\d+|version|data\.pkl|byteorder|\.[\w.-]+(?:\/[\w.-]+)*)|(?:data\/)?)$/u;
const endRecord = "PK\x05\x06";
const endRecordBytes = 22, maxCommentBytes = 0xffff;
const maxEntries = 100_000;
const stored = 0, deflated = 8;
/** Weights hardly compress; what unfolds to more than so many times its size, above so many bytes, is a trap. */
const maxRatio = 100, freeBytes = 2 ** 20;

/**
 * Opens the archive of a checkpoint: reads and checks its directory, and where each entry lies.
 *
 * @returns Entries by their names below the archive's folder, such as `data.pkl` and `data/0`.
 * @throws {Fault} As `truncated` if the directory is not there, as `limit` if an entry unfolds to far more than its size,
 *   otherwise as `zip`.
 */
export function readArchive(source: ByteSource): Promise<ReadonlyMap<string, StoredBytes>> {
  let folder: string | null = null;
  return readZip(source, (entry) => {
    const [, top, inner] = entry.fileName.match(knownName) ?? [];
    if (top === undefined) throw fault(entry, "is none that PyTorch writes");
    folder ??= top;
    if (top !== folder) throw fault(entry, `lies outside the folder ${JSON.stringify(folder)}`);
    return inner;
  });
}

/**
 * Opens any zip archive; see {@linkcode readArchive}.
 *
 * @param nameOf What an entry is called in the result; it throws where the entry may not be there. The entry's own name when left out.
 */
export async function readZip(
  source: ByteSource,
  nameOf: (entry: yauzl.Entry) => string = (entry) => entry.fileName,
): Promise<ReadonlyMap<string, StoredBytes>> {
  await checkEnd(source);
  const entries = new Map<string, StoredBytes>();
  for (const { entry, dataStart } of await readDirectory(source)) {
    const name = nameOf(entry);
    if (entries.has(name)) throw fault(entry, "is there twice");
    if (entry.isEncrypted()) throw fault(entry, "is encrypted");
    if (dataStart + entry.compressedSize > source.sizeBytes) throw fault(entry, "reaches past the end of the file");
    entries.set(name, openEntry(source, entry, dataStart));
  }
  return entries;
}

function fault(entry: yauzl.Entry, message: string, options?: ErrorOptions): Fault {
  return new Fault("zip", `the archive's entry ${JSON.stringify(entry.fileName)} ${message}`, options);
}

function openEntry(source: ByteSource, entry: yauzl.Entry, dataStart: number): StoredBytes {
  const { compressionMethod, compressedSize, uncompressedSize: sizeBytes } = entry;
  switch (compressionMethod) {
    case stored:
      if (compressedSize !== sizeBytes) throw fault(entry, `has ${compressedSize} bytes and declares ${sizeBytes}`);
      return {
        sizeBytes,
        async read(startBytes, partBytes) {
          const bytes = await source.read(dataStart + startBytes, partBytes);
          if (partBytes === sizeBytes) checkSum(entry, bytes);
          return bytes;
        },
      };
    case deflated:
      if (sizeBytes > Math.max(freeBytes, maxRatio * compressedSize)) {
        const message = `the archive's entry ${entry.fileName} unfolds ${compressedSize} to ${sizeBytes} bytes`;
        throw new Fault("limit", message);
      }
      return {
        sizeBytes,
        async read(startBytes, partBytes) {
          const bytes = inflate(entry, await source.read(dataStart, compressedSize));
          checkSum(entry, bytes);
          return new Uint8Array(bytes.subarray(startBytes, startBytes + partBytes));
        },
      };
    default:
      throw fault(entry, `is compressed by method ${compressionMethod}, expected none or 8 (deflate)`);
  }
}

function inflate(entry: yauzl.Entry, bytes: Uint8Array): Uint8Array {
  let whole: Uint8Array;
  try {
    whole = inflateRawSync(bytes, { maxOutputLength: Math.max(1, entry.uncompressedSize) });
  } catch (error) {
    throw fault(entry, `cannot be unpacked: ${(error as Error).message}`, { cause: error });
  }
  if (whole.length === entry.uncompressedSize) return whole;
  throw fault(entry, `unpacks to ${whole.length} bytes, expected ${entry.uncompressedSize}`);
}

function checkSum(entry: yauzl.Entry, bytes: Uint8Array): void {
  if (crc32(bytes) === entry.crc32) return;
  throw fault(
    entry,
    "has another checksum than was written: the file is damaged, get it again " +
      "(torch.serialization.set_crc32_options(False) writes such files too: save it with True)",
  );
}

/** A file that was cut has lost its directory, which stands at the end. */
async function checkEnd(source: ByteSource): Promise<void> {
  const sizeBytes = Math.min(source.sizeBytes, endRecordBytes + maxCommentBytes);
  const tail = Buffer.from(await source.read(source.sizeBytes - sizeBytes, sizeBytes));
  const start = tail.lastIndexOf(endRecord);
  if (start >= 0 && start + endRecordBytes <= sizeBytes) return;
  throw new Fault("truncated", "the archive's directory is missing, which stands at its end; get the file again");
}

interface DirectoryEntry {
  readonly entry: yauzl.Entry;
  /** Of the entry's first byte. */
  readonly dataStart: number;
}

async function readDirectory(source: ByteSource): Promise<DirectoryEntry[]> {
  const reader = new SourceReader(source);
  // What goes wrong inside yauzl's callbacks reaches nobody else.
  const broken = new Promise<never>((_, reject) => reader.onBroken = reject);
  broken.catch(() => {});
  try {
    return await Promise.race([listEntries(reader, source.sizeBytes), broken]);
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw new Fault("zip", `the archive is damaged: ${(error as Error).message}`, { cause: error });
  }
}

async function listEntries(reader: SourceReader, sizeBytes: number): Promise<DirectoryEntry[]> {
  const options = { autoClose: false, strictFileNames: true, validateEntrySizes: false };
  const archive = await yauzl.fromRandomAccessReaderPromise(reader, sizeBytes, options);
  if (archive.entryCount > maxEntries) {
    throw new Fault("limit", `the archive declares ${archive.entryCount} entries, expected up to ${maxEntries}`);
  }
  const found: DirectoryEntry[] = [];
  for await (const entry of archive.eachEntry()) {
    const header = await archive.readLocalFileHeaderPromise(entry);
    if (!header.fileName.equals(entry.fileNameRaw)) {
      throw new Error(`the directory says ${JSON.stringify(entry.fileName)}, the entry itself another name`);
    }
    found.push({ entry, dataStart: header.fileDataStart });
  }
  return found;
}

/** Lets yauzl read from a source. */
class SourceReader extends yauzl.RandomAccessReader {
  onBroken: (error: unknown) => void = () => {};

  constructor(private readonly source: ByteSource) {
    super();
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null, bytesRead?: number) => void,
  ): void {
    if (position + length > this.source.sizeBytes) return callback(new Error("it points past the end of the file"));
    this.source.read(position, length)
      .then((bytes) => {
        buffer.set(bytes, offset);
        callback(null, length);
      }, callback)
      .catch((error) => this.onBroken(error));
  }
}
