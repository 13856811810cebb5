import { editDistance, nearestName } from "./nearest_name.ts";

/** Every option of a step by name, so that the compiler finds one that is forgotten here or there. */
export type OptionNames<Options> = { readonly [Name in keyof Required<Options>]: true };

/**
 * Refuses what only untyped code can pass: options that are no object, and options that do not exist.
 *
 * @param owner Whose options they are, for the message: `step 'train network 2'`.
 * @throws {TypeError} Naming the option, with the nearest known name if one is near, else with all of them.
 * @example
 * ```ts
 * import { throws } from "node:assert/strict";
 * const known = { rank: true, alpha: true } as const;
 * throws(() => checkOptions("step 'train'", { rnk: 16 }, known), /unknown option rnk; did you mean rank\?/);
 * ```
 */
export function checkOptions<Options>(owner: string, options: unknown, known: OptionNames<Options>): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    const found = Array.isArray(options) ? "a list" : options === null ? "null" : `${typeof options}`;
    throw new TypeError(`Cannot make ${owner}: its options are ${found}, must be an object`);
  }
  const names = Object.keys(known), unknown = Object.keys(options).find((name) => !names.includes(name));
  if (unknown === undefined) return;
  const nearest = nearestName(unknown.toLowerCase(), names);
  // Further off, a suggestion would mislead: half of the letters are others.
  const isNear = editDistance(unknown.toLowerCase(), nearest.toLowerCase()) <= Math.max(1, unknown.length / 2 - 1);
  throw new TypeError(
    `Cannot make ${owner}: unknown option ${unknown}; ` +
      (isNear ? `did you mean ${nearest}?` : `its options are ${names.join(", ")}`),
  );
}
