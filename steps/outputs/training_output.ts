import type { TrainerState } from "../../training/trainer.ts";
import type { StepFigures } from "../../training/trainer.ts";
import type { SavedState, StatePlace } from "./state_folder.ts";

/** A place in a training, just behind an optimizer step. */
export interface TrainingMoment {
  /** Optimizer steps done. */
  readonly step: number;
  /** The epoch that the step belongs to, from 1. */
  readonly epoch: number;
  /** Whether the step is its epoch's last. */
  readonly isEpochEnd: boolean;
  /** Whether the step is the run's last. */
  readonly isLast: boolean;
}

/** The place behind a step, by how many there are. */
export function momentAt(
  step: number,
  { stepsPerEpoch, totalSteps }: { readonly stepsPerEpoch: number; readonly totalSteps: number },
): TrainingMoment {
  return {
    step,
    epoch: Math.ceil(step / stepsPerEpoch),
    isEpochEnd: step % stepsPerEpoch === 0,
    isLast: step === totalSteps,
  };
}

/** All that a training has made so far. */
export interface TrainingContent {
  readonly state: TrainerState;
  /** Figures of every step. */
  readonly log: readonly StepFigures[];
}

/** What of a step's work may still be to do where a run was stopped behind it. */
export type OwedWork = "validation" | "files" | "pictures";

/** Something that a training leaves behind while it runs, such as files, pictures or logs. */
export interface TrainingOutput {
  /** What `write` writes. */
  readonly writes: OwedWork | null;
  /** Hears of figures as they are read: at the start those of steps done before, in one go. */
  figures?(figures: readonly StepFigures[]): void | Promise<void>;
  /** Whether `write` is wanted here; never when left out. */
  isDue?(moment: TrainingMoment): boolean;
  /** Must come to the same when a run that was stopped does the step again. Throws the reason of the run's signal if it is stopped in between. */
  write?(moment: TrainingMoment, content: TrainingContent): Promise<void>;
  /** The user wants what there is now: writes it where the user finds it, and gives back the paths. */
  saveNow?(moment: TrainingMoment, content: TrainingContent): Promise<string[]>;
  /**
   * The newest state that this training has saved where the user finds it; null if there is none.
   *
   * @param most Of those of so many steps or fewer.
   */
  saved?(most: number): Promise<StatePlace | null>;
  /**
   * The training diverged: keeps the last good state where the user finds it, and gives back its path. The step's own checkpoints are for the same settings.
   *
   * @param state As its checkpoint has it.
   */
  rescue?(state: SavedState): Promise<string>;
  /** The training is over, or stops. */
  close?(): void | Promise<void>;
}
