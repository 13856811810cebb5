import type { TrainBatch } from "../../training/feeds.ts";
import type { StepFigures, Trainer } from "../../training/trainer.ts";
import { trainBatch } from "./epoch_batches.ts";
import type { OpenedLatents } from "./latents.ts";
import type { TrainingSide } from "./training_loop.ts";
import type { TrainingOptions } from "./training_options.ts";

/** A place in a training, just behind a step. */
export interface ValidationMoment {
  /** Steps done. */
  readonly step: number;
  /** From 0. */
  readonly epoch: number;
  readonly isEpochEnd: boolean;
  readonly isLast: boolean;
}

/** The held-out pictures of a training, whose loss is measured every few epochs or steps and at the end. */
export class HeldOut {
  private batches: TrainBatch[][] | null = null;

  constructor(
    private readonly sides: readonly TrainingSide[],
    private readonly latents: OpenedLatents,
    private readonly options: TrainingOptions,
  ) {}

  /**
   * Adds the losses to a step's figures, where they are due.
   *
   * @param figures Those that were read when the step was queued.
   * @returns All that are read by now.
   */
  async measure(figures: StepFigures[], trainer: Trainer, moment: ValidationMoment): Promise<StepFigures[]> {
    if (!this.isDue(moment)) return figures;
    const read = [...figures, ...await trainer.readFigures()];
    this.batches ??= await this.read();
    const step = moment.step - 1, { epoch } = moment;
    const losses = await trainer.validate(this.batches, this.sides[0].dataset.validationSeed);
    // A step that was skipped has no figures.
    const { values } = read.at(-1)?.step === step ? read.pop()! : { values: {} };
    return [...read, { step, epoch, values: { ...values, ...losses } }];
  }

  private isDue({ step, epoch, isEpochEnd, isLast }: ValidationMoment): boolean {
    if (this.sides.every(({ dataset }) => dataset.validationBatches().length === 0)) return false;
    const { validateEveryEpochs = 1, validateEverySteps } = this.options;
    const isStep = validateEverySteps !== undefined && step % validateEverySteps === 0;
    return isLast || isStep || isEpochEnd && (epoch + 1) % validateEveryEpochs === 0;
  }

  private async read(): Promise<TrainBatch[][]> {
    const { maxValidationBatches } = this.options, read: TrainBatch[][] = [];
    for (const side of this.sides) {
      const batches: TrainBatch[] = [];
      for (const batch of side.dataset.validationBatches().slice(0, maxValidationBatches)) {
        // The other network, which is measured on top of this one, may have modules in the text encoder.
        batches.push(await trainBatch(batch, { ...side, texts: null }, this.latents, this.options));
      }
      read.push(batches);
    }
    return read;
  }
}
