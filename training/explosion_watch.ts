import { DivergedError } from "./not_finite.ts";
import type { StepFigures } from "./trainer.ts";

/** Mean error of a prediction above which a step does not count as training: to predict nothing at all gives about 1. */
const explodedError = 100;

/** Ends a training whose losses are finite and of no use: weights that have grown so far do not come back. */
export class ExplosionWatch {
  private streak = 0;

  /** @param most Steps in a row at which the training ends. */
  constructor(private readonly most: number) {}

  /** Steps up to the last one that were all bad. */
  get inRow(): number {
    return this.streak;
  }

  /**
   * Looks at a step's figures, in order.
   *
   * @throws {DivergedError} If the error of a prediction was too large in too many steps in a row.
   */
  look({ step, values }: StepFigures): void {
    const found = Object.entries(values).find(([name, value]) => /^mse_\d$/.test(name) && value > explodedError);
    this.streak = found ? this.streak + 1 : 0;
    if (!found || this.streak < this.most) return;
    const [name, value] = found;
    throw new DivergedError(
      step,
      `${name} is ${
        value.toPrecision(3)
      }, and was above ${explodedError} in ${this.streak} steps in a row; to predict nothing gives about 1`,
      { inRow: this.streak },
    );
  }
}
