/**
 * Centred moving mean: each value becomes the mean of the `window` values around it, fewer at the two ends.
 *
 * A run's curve stays where it is: the mean looks as far back as ahead.
 *
 * @param window Odd number of values, 1 or more; 1 changes nothing.
 * @throws {RangeError} If the window is not an odd whole number above 0.
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(smooth([0, 3, 6, 0, 0], 3), [1.5, 3, 3, 2, 0]);
 * ```
 */
export function smooth(values: readonly number[], window: number): number[] {
  if (!Number.isInteger(window) || window < 1 || window % 2 === 0) {
    throw new RangeError(`Cannot smooth over ${window} values: the window must be an odd whole number above 0`);
  }
  const reach = (window - 1) / 2;
  return values.map((_, index) => {
    const near = values.slice(Math.max(0, index - reach), index + reach + 1);
    return near.reduce((sum, value) => sum + value, 0) / near.length;
  });
}

/** The window that suits a run's length: an odd number of values, about a twentieth of them. */
export function smoothingWindow(count: number): number {
  return 2 * Math.round(count / 40) + 1;
}
