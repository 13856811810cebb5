import type { ByteSource } from "./byte_source.ts";
import { TensorFileError, type TensorFileFormat } from "./tensor_file.ts";

/** Up to the mark of a tar archive. */
const headBytes = 262;
/** Length of the header and its first letter. */
const minBytes = 9;

/**
 * Which format a file has, by its first bytes.
 *
 * @param name What to call the file in errors.
 * @throws {TensorFileError} As `truncated` if it is too short to be any, as `not_checkpoint` or `unsupported` if it is
 *   something else, naming it where it can.
 */
export async function recogniseFormat(source: ByteSource, name: string): Promise<TensorFileFormat> {
  const fail = (fault: string, message: string) => new TensorFileError(fault, name, null, message);
  const head = await source.read(0, Math.min(headBytes, source.sizeBytes));
  const text = String.fromCharCode(...head);
  if (text.startsWith("PK\x03\x04") || text.startsWith("PK\x05\x06")) return "torch zip";
  if (head.length < minBytes) throw fail("truncated", `the file has ${source.sizeBytes} bytes; get it again`);
  if (text[8] === "{") return "safetensors";
  if (head[0] === 0x80 && head[1] >= 2 && head[1] <= 5) return "torch legacy"; // a pickle of protocol 2 to 5
  if (text.startsWith("version https://git-lfs")) {
    throw fail("not_checkpoint", "this is a pointer of Git LFS, not the file itself; get it with `git lfs pull`");
  }
  if (/^\s*</.test(text)) {
    throw fail("not_checkpoint", "this is a web page, no model: the download failed; get the file again");
  }
  if (text.slice(257) === "ustar") {
    throw fail("unsupported", "this is a tar archive, as PyTorch 0.1 wrote; save it anew");
  }
  const start = JSON.stringify(text.slice(0, 8));
  throw fail("not_checkpoint", `it starts with ${start}, expected a safetensors file or one that torch.save() wrote`);
}
