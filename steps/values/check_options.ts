import { editDistance, nearestName } from "./nearest_name.ts";

/** Every option of a step by name, so that the compiler finds one that is forgotten here or there. */
export type OptionNames<Options> = { readonly [Name in keyof Required<Options>]: true };

/**
 * Refuses what only untyped code can pass: options that are no object, and options that do not exist.
 *
 * @param step Name of the step, for the message.
 * @param inside Name of the option whose own options these are, such as `orthogonality`.
 * @throws {TypeError} Naming the option, with the nearest known name if one is near, else with all of them.
 * @example
 * ```ts
 * import { throws } from "node:assert/strict";
 * const known = { rank: true, alpha: true } as const;
 * throws(() => checkOptions("train", { rnk: 16 }, known), {
 *   message: "Cannot make step 'train': unknown option rnk; did you mean rank?",
 * });
 * ```
 */
export function checkOptions<Options>(
  step: string,
  options: unknown,
  known: OptionNames<Options>,
  inside?: string,
): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    const found = Array.isArray(options) ? "a list" : String(options);
    const what = inside === undefined ? "its options are" : `${inside} is`;
    throw new TypeError(`Cannot make step '${step}': ${what} ${found}, must be an object`);
  }
  const names = Object.keys(known), unknown = Object.keys(options).find((name) => !names.includes(name));
  if (unknown === undefined) return;
  const nearest = nearestName(unknown, names);
  // With more than two letters in five changed, a suggestion would be another word.
  const isNear = editDistance(unknown, nearest) <= Math.ceil(unknown.length * 0.4);
  throw new TypeError(
    `Cannot make step '${step}': unknown option ${inside === undefined ? "" : `${inside}.`}${unknown}; ` +
      (isNear ? `did you mean ${nearest}?` : `its options are ${names.join(", ")}`),
  );
}
