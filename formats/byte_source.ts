import { type FileHandle, open } from "node:fs/promises";
import { checkPlainFile } from "./plain_file.ts";
import { TensorFileError } from "./tensor_file.ts";

/** Somewhere to read bytes from, at any place; fails rather than giving fewer. */
export interface ByteSource {
  readonly sizeBytes: number;
  /** @throws {TensorFileError} As `truncated` if the source ends before that. */
  read(startBytes: number, sizeBytes: number): Promise<Uint8Array<ArrayBuffer>>;
  close(): Promise<void>;
}

/**
 * A file on the disk as a source of bytes.
 *
 * @throws {SpecialFileError} If it is a folder, a named pipe, a socket or a device.
 * @throws What the file system throws where it cannot be opened.
 */
export async function openFileSource(path: string): Promise<ByteSource> {
  await checkPlainFile(path);
  const handle = await open(path, "r");
  try {
    return new FileSource(path, handle, (await handle.stat()).size);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/**
 * Bytes in memory as a source; what is read is a copy.
 *
 * @param name What to call the bytes in errors.
 */
export function memorySource(content: Uint8Array, name: string): ByteSource {
  return {
    sizeBytes: content.length,
    read(startBytes, sizeBytes) {
      if (startBytes + sizeBytes > content.length) return Promise.reject(endedEarly(name, content.length));
      return Promise.resolve(new Uint8Array(content.subarray(startBytes, startBytes + sizeBytes)));
    },
    close: () => Promise.resolve(),
  };
}

class FileSource implements ByteSource {
  constructor(readonly path: string, readonly handle: FileHandle, readonly sizeBytes: number) {}

  async read(startBytes: number, sizeBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    // Asked first, so that a damaged length cannot make it allocate more than the file has.
    if (startBytes + sizeBytes > this.sizeBytes) throw endedEarly(this.path, this.sizeBytes);
    const bytes = new Uint8Array(sizeBytes);
    let filled = 0;
    while (filled < sizeBytes) {
      const { bytesRead } = await this.handle.read(bytes, filled, sizeBytes - filled, startBytes + filled);
      if (bytesRead === 0) {
        const message = `the file ended at byte ${startBytes + filled}: it was shortened while it was open`;
        throw new TensorFileError("truncated", this.path, null, message);
      }
      filled += bytesRead;
    }
    return bytes;
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}

function endedEarly(file: string, sizeBytes: number): TensorFileError {
  return new TensorFileError("truncated", file, null, `it ends at byte ${sizeBytes}, too early; get the file again`);
}
