/** Steps at the end of a training whose figures are averaged. */
const lastSteps = 10;

/**
 * What a training ended with: of each figure that its last step has, the mean over the last ten steps that have it.
 *
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(lastFigures([{ values: { loss_1: 4, norm_1: 1 } }, { values: { loss_1: 2 } }]), { loss_1: 3 });
 * ```
 */
export function lastFigures(
  log: readonly { readonly values: Readonly<Record<string, number>> }[],
): Record<string, number> {
  return Object.fromEntries(
    Object.keys(log.at(-1)?.values ?? {}).map((name) => {
      const last = log.slice(-lastSteps).flatMap(({ values }) => name in values ? [values[name]] : []);
      return [name, last.reduce((sum, value) => sum + value, 0) / last.length];
    }),
  );
}
