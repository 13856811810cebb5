/**
 * Latents that sd-scripts has made of pictures, in NumPy's `.npz` files (`prepare_buckets_latents.py`, `--cache_latents_to_disk`).
 *
 * @module
 */
import { stat } from "node:fs/promises";
import { readNpz } from "../formats/npz.ts";
import type { LatentTensor } from "./latent_cache.ts";

/** The file of the mirrored picture, as sd-scripts 0.6.4 names it; later releases have both in one. */
export function flippedLatentFile(path: string): string {
  return path.replace(/\.npz$/, "_flip.npz");
}

/**
 * Reads one picture's latents: `arr_0` as sd-scripts 0.6.4 writes it, or `latents` and `latents_flipped` of later releases, `[4, height, width]`.
 *
 * @param isFlipped Those of the mirrored picture.
 * @returns `[height, width, 4]`, as the VAE gives them.
 * @throws {Error} If the file has no latents, or none of the mirrored picture where they are wanted.
 * @throws {TensorFileError} If it cannot be read.
 */
export async function readLatentFile(path: string, isFlipped: boolean): Promise<LatentTensor> {
  const found = await readNpz(path, ["latents", "latents_flipped", "arr_0"]);
  let chosen = isFlipped ? found.get("latents_flipped") : found.get("latents") ?? found.get("arr_0"), file = path;
  if (isFlipped && !found.has("latents")) {
    file = flippedLatentFile(path);
    const isThere = await stat(file).then((found) => found.isFile(), () => false);
    if (isThere) chosen = (await readNpz(file, ["arr_0"])).get("arr_0");
  }
  if (chosen === undefined) {
    const wanted = isFlipped
      ? `of the mirrored picture (flipAug), expected latents_flipped in it, or ${flippedLatentFile(path)}`
      : "in it";
    throw new Error(`Cannot read the latents ${path}: there are none ${wanted}`);
  }
  const { shape, values } = chosen, [channels, height, width] = shape;
  if (shape.length !== 3 || channels !== 4) {
    throw new Error(`Cannot read the latents ${file}: their shape is [${shape}], expected [4, height, width]`);
  }
  const cells = height * width, laid = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) laid[i] = values[i % 4 * cells + Math.floor(i / 4)];
  return { shape: [height, width, 4], values: laid };
}
