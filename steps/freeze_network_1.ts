import { defineStep } from "../pipeline/mod.ts";
import { epochPhase, type FreezeOptions } from "../training/phases.ts";
import { freezing } from "./things.ts";
import { checkOptions } from "./values/check_options.ts";

/** Options of `freezeNetwork1`. */
export interface FreezeNetwork1Options {
  /** `full`: for the whole run. `semi`: until `annealEpoch`, then it trains along. `none`: it trains from the start. */
  readonly mode: "full" | "semi" | "none";
  /** Epoch from which orthogonality is on, and a semi-frozen network 1 trains; 0 when left out (`--anneal_epoch`). */
  readonly annealEpoch?: number;
  /** Before `annealEpoch`, orthogonality is on in epochs after this one; 0 when left out (`--half_annel_epoch`). */
  readonly halfAnnealEpoch?: number;
}

/** Says when network 1 trains and when the orthogonality loss is on, epoch by epoch; see `epochPhase`. */
export function freezeNetwork1(options: FreezeNetwork1Options) {
  const name = "freeze network 1", known = { mode: true, annealEpoch: true, halfAnnealEpoch: true } as const;
  checkOptions<FreezeNetwork1Options>(name, options, known);
  const { mode, annealEpoch = 0, halfAnnealEpoch = 0 } = options;
  if (!["full", "semi", "none"].includes(mode)) {
    throw new RangeError(`Cannot freeze network 1: mode is ${JSON.stringify(mode)}, must be full, semi or none`);
  }
  const found: FreezeOptions = { freeze: mode === "full", semiFreeze: mode === "semi", annealEpoch, halfAnnealEpoch };
  // Refuses epochs that are none.
  epochPhase(0, found);
  return defineStep({
    name,
    version: 1,
    options: found,
    gives: { freezing },
    plan: () => ({ gives: { freezing: found } }),
    run: () => ({ freezing: found }),
  });
}
