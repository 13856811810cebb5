import type { DatasetImage, Sample } from "../../data/dataset.ts";
import type { LoadedBases } from "./bases.ts";

/** One picture's latents. */
export interface PictureLatents {
  readonly height: number;
  readonly width: number;
  /** `[height, width, 4]`, as the VAE gives them. */
  readonly values: Float32Array;
}

/** Latents at hand, for as long as a step needs them. */
export interface OpenedLatents extends Disposable {
  /** Latents of a batch's samples, in their order. */
  get(samples: readonly Sample[]): Promise<PictureLatents[]>;
}

/** Where training gets its latents from. */
export interface LatentProvider {
  /** Makes ready what is needed. */
  open(bases: LoadedBases): Promise<OpenedLatents>;
}

/** What is known of latents before a run. */
export interface PlannedLatents {
  /** Bytes on the device that they take while they are opened, such as the VAE's where pictures are encoded in every step; none when left out. */
  readonly gpuBytes?: number;
}

/** A picture's latents, or what reads them from where they are kept. */
export type KeptLatents = PictureLatents | (() => Promise<PictureLatents>);

/** Latents of every picture of the training data, encoded beforehand: held in memory, or read when they are asked for. */
export class LatentStore implements LatentProvider, OpenedLatents {
  private readonly byName = new Map<string, KeptLatents>();

  /** Number of entries. */
  get count(): number {
    return this.byName.size;
  }

  /** They are at hand already. */
  open(): Promise<OpenedLatents> {
    return Promise.resolve(this);
  }

  /** Nothing is taken for the time of a step. */
  [Symbol.dispose](): void {}

  /**
   * Latents of pictures as they are, or mirrored; cut in the middle.
   *
   * @throws {Error} If a picture was not encoded, or its latents cannot be read any more.
   */
  get(samples: readonly Pick<Sample, "image" | "isFlipped">[]): Promise<PictureLatents[]> {
    return Promise.all(samples.map(async ({ image, isFlipped }) => {
      const found = this.byName.get(nameOf(image, isFlipped));
      if (found) return typeof found === "function" ? await found() : found;
      const { width, height } = image.bucket;
      throw new Error(`Cannot train: ${image.path} has no cached latents at ${width}×${height}`);
    }));
  }

  /** Keeps a picture's latents. */
  set(image: DatasetImage, isFlipped: boolean, latents: KeptLatents): void {
    this.byName.set(nameOf(image, isFlipped), latents);
  }
}

function nameOf({ path, bucket, resized }: DatasetImage, isFlipped: boolean): string {
  const sizes = [bucket.width, bucket.height, resized.width, resized.height];
  return `${sizes.join(" ")} ${isFlipped ? "flipped " : ""}${path}`;
}
