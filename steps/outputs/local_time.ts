/**
 * A time as names of files and folders have it in sd-scripts, in the machine's time zone.
 *
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(localTime(new Date(2024, 1, 3, 4, 5, 6)), "20240203040506");
 * ```
 */
export function localTime(time: Date): string {
  const parts = [time.getMonth() + 1, time.getDate(), time.getHours(), time.getMinutes(), time.getSeconds()];
  return `${time.getFullYear()}${parts.map((part) => `${part}`.padStart(2, "0")).join("")}`;
}
