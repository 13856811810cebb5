/**
 * Why a picture cannot be read.
 *
 * - `missing`: no such file, or not a file that may be read
 * - `empty`: the file has no bytes
 * - `not_image`: its first bytes are those of no known picture format
 * - `truncated`: the file ends before the picture does
 * - `damaged`: the picture's data contradict themselves
 * - `too_large`: it declares more pixels than a picture may have
 * - `unsupported`: a variant of its format that is not read here
 */
export type ImageFault = "missing" | "empty" | "not_image" | "truncated" | "damaged" | "too_large" | "unsupported";

/**
 * A picture that cannot be read. Callers may catch it to go on with the other pictures.
 *
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * const error = new ImageError("dog/1.png", "empty", "the file has 0 bytes");
 * equal(error.message, "Cannot read image dog/1.png: the file has 0 bytes");
 * ```
 */
export class ImageError extends Error {
  override readonly name = "ImageError";

  /**
   * @param file Path of the picture.
   * @param fault Kind of fault, for programs.
   * @param reason The same in words, for people: it ends the message.
   */
  constructor(readonly file: string, readonly fault: ImageFault, reason: string, options?: ErrorOptions) {
    super(`Cannot read image ${file}: ${reason}`, options);
  }
}
