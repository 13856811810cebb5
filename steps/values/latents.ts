import type { DatasetImage, Sample } from "../../data/dataset.ts";

/** One picture's latents. */
export interface PictureLatents {
  readonly height: number;
  readonly width: number;
  /** `[height, width, 4]`, as the VAE gives them. */
  readonly values: Float32Array;
}

/** Where training gets its latents from. */
export interface LatentProvider {
  /**
   * Latents of a batch's samples, in their order.
   *
   * @param time Epoch and place of the batch in it: what a draw from the VAE's distribution depends on.
   */
  get(samples: readonly Sample[], time: { readonly epoch: number }): Promise<PictureLatents[]>;
}

/** Latents of every picture of the training data, encoded beforehand. */
export class LatentStore implements LatentProvider {
  private readonly byName = new Map<string, PictureLatents>();

  /** Number of entries. */
  get count(): number {
    return this.byName.size;
  }

  /**
   * Latents of pictures as they are, or mirrored; cut in the middle.
   *
   * @throws {Error} If a picture was not encoded.
   */
  get(samples: readonly Pick<Sample, "image" | "isFlipped">[]): Promise<PictureLatents[]> {
    return Promise.resolve(samples.map(({ image, isFlipped }) => {
      const found = this.byName.get(nameOf(image, isFlipped));
      if (found) return found;
      const { width, height } = image.bucket;
      throw new Error(`Cannot train: ${image.path} has no cached latents at ${width}×${height}`);
    }));
  }

  /** Keeps a picture's latents. */
  set(image: DatasetImage, isFlipped: boolean, latents: PictureLatents): void {
    this.byName.set(nameOf(image, isFlipped), latents);
  }
}

function nameOf({ path, bucket, resized }: DatasetImage, isFlipped: boolean): string {
  const sizes = [bucket.width, bucket.height, resized.width, resized.height];
  return `${sizes.join(" ")} ${isFlipped ? "flipped " : ""}${path}`;
}
