import type { TrainerState } from "../../training/trainer.ts";
import type { StepFigures } from "../../training/trainer.ts";

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

/** All that a training has made so far. */
export interface TrainingContent {
  readonly state: TrainerState;
  /** Figures of every step. */
  readonly log: readonly StepFigures[];
}

/** Something that a training leaves behind while it runs, such as files, pictures or logs. */
export interface TrainingOutput {
  /** Hears of figures as they are read: at the start those of steps done before, in one go. */
  figures?(figures: readonly StepFigures[]): void | Promise<void>;
  /** Whether `write` is wanted here; never when left out. */
  isDue?(moment: TrainingMoment): boolean;
  /** Must come to the same when a run that was stopped does the step again. */
  write?(moment: TrainingMoment, content: TrainingContent): Promise<void>;
  /** The training is over, or stops. */
  close?(): void | Promise<void>;
}
