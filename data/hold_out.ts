import { RandomStream } from "../random/philox.ts";
import type { DatasetSource, SubsetImage } from "./subset.ts";

/** What the choice's random numbers are drawn for. */
const holdOutStream = 0x106_0000;

/** How pictures are held out. */
export interface HoldOutOptions {
  /** Whose data it is, for errors. */
  readonly name: string;
  readonly seed: number;
  readonly stream?: number;
  /** Share of each subset's pictures; 0: none. */
  readonly validationSplit?: number;
}

/**
 * Chooses the pictures that are kept for the validation loss: of each training subset the share, rounded; the choice
 * depends on the seed and the number of pictures alone. Regularization pictures are never held out.
 *
 * @throws {RangeError} If the share is out of range, or so small or large that no picture is held out or none is left.
 */
export function holdOut(sources: readonly DatasetSource[], options: HoldOutOptions): ReadonlySet<SubsetImage> {
  const { name, seed, stream = 0, validationSplit = 0 } = options, chosen = new Set<SubsetImage>();
  if (!(validationSplit >= 0 && validationSplit < 1)) {
    throw new RangeError(
      `Cannot hold out pictures of ${name}: validationSplit is ${validationSplit}, must be from 0 to less than 1`,
    );
  }
  if (validationSplit === 0) return chosen;
  const subsets = sources.flatMap(({ subsets }) => subsets).filter(({ settings }) => !settings.isReg);
  for (const [item, { images }] of subsets.entries()) {
    const order = [...images];
    new RandomStream({ seed, stream: holdOutStream + stream, step: 0, item }).shuffle(order);
    for (const image of order.slice(0, Math.round(images.length * validationSplit))) chosen.add(image);
  }
  const total = subsets.reduce((count, { images }) => count + images.length, 0);
  if (chosen.size > 0 && chosen.size < total) return chosen;
  throw new RangeError(
    `Cannot hold out pictures of ${name}: validationSplit ${validationSplit} of ${total} pictures is ${chosen.size}; ` +
      "at least one must be held out and one left",
  );
}
