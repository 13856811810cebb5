/**
 * Options without those that stand where the step has them anyway.
 *
 * @param options Each with its value and the step's own default; null is never an option.
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(changed({ batchSize: [4, 1], flipAug: [false, false], seed: [null, null] }), { batchSize: 4 });
 * ```
 */
export function changed<Values extends Record<string, readonly [unknown, unknown]>>(
  options: Values,
): { readonly [Name in keyof Values]?: Exclude<Values[Name][0], null> } {
  const found = Object.entries(options).filter(([, [value, usual]]) => value !== null && value !== usual);
  return Object.fromEntries(found.map(([name, [value]]) => [name, value])) as ReturnType<typeof changed<Values>>;
}
