/** Options, each with its value and the step's own default; null is never an option. */
type OptionValues = Readonly<Record<string, readonly [value: unknown, usual: unknown]>>;

/** The options that have a value. */
type Chosen<Values extends OptionValues> = { readonly [Name in keyof Values]?: Exclude<Values[Name][0], null> };

/**
 * Options without those that stand where the step has them anyway.
 *
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(changed({ batchSize: [4, 1], flipAug: [false, false], seed: [null, 1] }), { batchSize: 4 });
 * ```
 */
export function changed<Values extends OptionValues>(options: Values): Chosen<Values> {
  return choose(options, (value, usual) => value !== usual);
}

/** All options that have a value, the step's own defaults too. */
export function allGiven<Values extends OptionValues>(options: Values): Chosen<Values> {
  return choose(options, () => true);
}

function choose<Values extends OptionValues>(
  options: Values,
  isWanted: (value: unknown, usual: unknown) => boolean,
): Chosen<Values> {
  const found = Object.entries(options).filter(([, [value, usual]]) => value !== null && isWanted(value, usual));
  return Object.fromEntries(found.map(([name, [value]]) => [name, value])) as Chosen<Values>;
}
