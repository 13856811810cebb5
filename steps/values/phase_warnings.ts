import { epochPhase, type FreezeOptions } from "../../training/phases.ts";
import { couplingOptions, type OrthogonalitySetting } from "./coupling_options.ts";

/**
 * What was asked of freezing and annealing and no epoch of the run comes to, in sentences.
 *
 * @param epochs Of the run.
 */
export function phaseWarnings(
  epochs: number,
  { freezing, orthogonality }: { readonly freezing: FreezeOptions; readonly orthogonality: OrthogonalitySetting },
): string[] {
  const phases = Array.from({ length: epochs }, (_, epoch) => epochPhase(epoch, freezing)), last = epochs - 1;
  const { semiFreeze = false, annealEpoch = 0, halfAnnealEpoch = 0 } = freezing;
  const anneal = `annealEpoch (--anneal_epoch) is ${annealEpoch}`;
  const run = epochs === 1
    ? "the run has 1 epoch (0)"
    : `the run has ${epochs} epochs (0 ${epochs === 2 ? "and" : "to"} ${last})`;
  const remedy = `set annealEpoch to ${last}${last > 0 ? " or less" : ""}, or train for more epochs`;
  const warnings: string[] = [];
  if (semiFreeze && !phases.some(({ network1Trains }) => network1Trains)) {
    warnings.push(`network 1 is semi-frozen and never thaws: ${anneal}, ${run}; ${remedy}`);
  }
  if (asksForOrthogonality(orthogonality) && !phases.some(({ orthogonalityOn }) => orthogonalityOn)) {
    const half = `halfAnnealEpoch (--half_annel_epoch) is ${halfAnnealEpoch}`;
    warnings.push(`orthogonality is never on: ${anneal}, ${half}, ${run}; ${remedy}`);
  }
  return warnings;
}

/** Whether any of its terms would count. */
function asksForOrthogonality(orthogonality: OrthogonalitySetting): boolean {
  if (orthogonality === false) return false;
  const { textCoefficient, unetCoefficient, divergenceCoefficient, downCoefficient, upCoefficient, hooks } =
    couplingOptions({ orthogonality, stack: false });
  const coefficients = [textCoefficient, unetCoefficient, divergenceCoefficient, downCoefficient, upCoefficient];
  return [...coefficients, hooks?.coefficient ?? 0].some((coefficient) => coefficient !== 0);
}
