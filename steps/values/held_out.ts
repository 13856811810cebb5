import type { TrainBatch } from "../../training/feeds.ts";
import type { StepFigures, Trainer } from "../../training/trainer.ts";
import type { TrainingMoment } from "../outputs/training_output.ts";
import { trainBatch } from "./epoch_batches.ts";
import type { OpenedLatents } from "./latents.ts";
import type { TrainingSide } from "./training_loop.ts";
import type { TrainingOptions } from "./training_options.ts";

/** The held-out pictures of a training, whose loss is measured every few epochs or steps and at the end. */
export class HeldOut {
  private batches: TrainBatch[][] | null = null;

  constructor(
    private readonly sides: readonly TrainingSide[],
    private readonly latents: OpenedLatents,
    private readonly options: TrainingOptions,
  ) {}

  /** Whether the losses are measured behind a step. */
  isDue({ step, epoch, isEpochEnd, isLast }: TrainingMoment): boolean {
    if (this.sides.every(({ dataset }) => dataset.validationBatches().length === 0)) return false;
    const { validateEveryEpochs = 1, validateEverySteps } = this.options;
    const isStep = validateEverySteps !== undefined && step % validateEverySteps === 0;
    return isLast || isStep || isEpochEnd && epoch % validateEveryEpochs === 0;
  }

  /**
   * Adds the losses to the figures of the step that was done last.
   *
   * @param figures All that are read and not told yet.
   * @param signal Looked at behind each batch.
   * @throws The signal's reason.
   */
  async measure(
    figures: readonly StepFigures[],
    trainer: Trainer,
    moment: TrainingMoment,
    signal: AbortSignal,
  ): Promise<StepFigures[]> {
    this.batches ??= await this.read();
    const step = moment.step - 1, epoch = moment.epoch - 1, told = [...figures];
    const losses = await trainer.validate(this.batches, this.sides[0].dataset.validationSeed, signal);
    // A step that was skipped has no figures.
    const { values } = told.at(-1)?.step === step ? told.pop()! : { values: {} };
    return [...told, { step, epoch, values: { ...values, ...losses } }];
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
