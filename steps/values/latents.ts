/** One picture's latents. */
export interface PictureLatents {
  readonly height: number;
  readonly width: number;
  /** `[height, width, 4]`, as the VAE gives them. */
  readonly values: Float32Array;
}

/** Latents of every picture of the training data. */
export class LatentStore {
  private readonly byName = new Map<string, PictureLatents>();

  /** Number of entries. */
  get count(): number {
    return this.byName.size;
  }

  /** Latents of a picture as it is, or mirrored. */
  get(path: string, size: { width: number; height: number; isFlipped: boolean }): PictureLatents {
    const found = this.byName.get(nameOf(path, size));
    if (!found) throw new Error(`Cannot train: ${path} has no cached latents at ${size.width}×${size.height}`);
    return found;
  }

  /** Keeps a picture's latents. */
  set(path: string, size: { width: number; height: number; isFlipped: boolean }, latents: PictureLatents): void {
    this.byName.set(nameOf(path, size), latents);
  }
}

function nameOf(
  path: string,
  { width, height, isFlipped }: { width: number; height: number; isFlipped: boolean },
): string {
  return `${width}x${height} ${isFlipped ? "flipped " : ""}${path}`;
}
