/** What trains in one epoch, and whom the orthogonality term moves. */
export interface EpochPhase {
  readonly network1Trains: boolean;
  readonly orthogonalityOn: boolean;
}

/** Freezing and annealing, with the original's flags in brackets. Epochs count from 0. */
export interface FreezeOptions {
  /** Frozen for the whole run (`freeze_network_1`). */
  readonly freeze?: boolean;
  /** Frozen until `annealEpoch`, then trained (`semi_freeze_network_1`); wins over `freeze`. */
  readonly semiFreeze?: boolean;
  /** Epoch from which orthogonality is on for all that trains (`anneal_epoch`); 0 when left out. */
  readonly annealEpoch?: number;
  /** Before `annealEpoch` the term is on in epochs after this one (`half_anneal_epoch`); 0 when left out. */
  readonly halfAnnealEpoch?: number;
}

/**
 * The truth table of freezing and annealing, for one epoch.
 *
 * The term is on when `epoch >= annealEpoch` or `epoch > halfAnnealEpoch`. It moves whoever trains.
 *
 * @throws {RangeError} If an epoch is not a whole number from 0 on.
 * @example Semi-frozen until epoch 2; the term is off in epoch 0 alone
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * const options = { semiFreeze: true, annealEpoch: 2 };
 * deepEqual(epochPhase(0, options), { network1Trains: false, orthogonalityOn: false });
 * deepEqual(epochPhase(1, options), { network1Trains: false, orthogonalityOn: true });
 * deepEqual(epochPhase(2, options), { network1Trains: true, orthogonalityOn: true });
 * ```
 */
export function epochPhase(epoch: number, options: FreezeOptions = {}): EpochPhase {
  const { freeze = false, semiFreeze = false, annealEpoch = 0, halfAnnealEpoch = 0 } = options;
  for (const [name, value] of Object.entries({ epoch, annealEpoch, halfAnnealEpoch })) {
    if (!Number.isInteger(value) || value < 0) {
      throw new RangeError(`Cannot choose the phase: ${name} is ${value}, must be a whole number from 0 on`);
    }
  }
  return {
    network1Trains: semiFreeze ? epoch >= annealEpoch : !freeze,
    orthogonalityOn: epoch >= annealEpoch || epoch > halfAnnealEpoch,
  };
}
