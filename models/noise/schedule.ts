/** What the model's output means: the noise that was added, or the velocity `√ᾱ·ε − √(1−ᾱ)·z`. */
export type PredictionType = "epsilon" | "v_prediction";

/** A hundred times as many as any model was trained on. */
const maxTimesteps = 100_000;

/** How a {@linkcode NoiseSchedule} is made; Stable Diffusion v1.5's values are the defaults. */
export interface NoiseScheduleOptions {
  /** Number of timesteps the model was trained on; default 1000. */
  trainTimesteps?: number;
  /** Variance added at timestep 0; default 0.00085. */
  betaStart?: number;
  /** Variance added at the last timestep; default 0.012. */
  betaEnd?: number;
  /** What the model predicts; default `"epsilon"`. */
  predictionType?: PredictionType;
}

/** Coefficients of a sum of clean latents z and noise ε, one pair for each sample of a batch. */
export interface MixCoefficients {
  /** `[batch]`, factors of the clean latents. */
  latents: Float32Array<ArrayBuffer>;
  /** `[batch]`, factors of the noise. */
  noise: Float32Array<ArrayBuffer>;
}

/**
 * The forward noise process of DDPM with "scaled linear" variances, as Stable Diffusion uses it.
 *
 * `βᵗ = (√β₀ + t / (T − 1) · (√β₁ − √β₀))²` and `ᾱₜ = ∏ (1 − β)` over the timesteps up to t. Pure numbers on the host: a
 * training step or a sampler multiplies the coefficients on the GPU.
 *
 * @see Ho et al. 2020, https://arxiv.org/abs/2006.11239
 * @example A timestep in the middle is mostly noise
 * ```ts
 * import { ok } from "node:assert/strict";
 * const schedule = new NoiseSchedule();
 * ok(Math.abs(schedule.alphasCumprod[500] - 0.276332498) < 1e-6);
 * ```
 */
export class NoiseSchedule {
  /** What the model predicts. */
  readonly predictionType: PredictionType;
  /** `[timesteps]`, variance β added at each timestep. */
  readonly betas: Float32Array<ArrayBuffer>;
  /** `[timesteps]`, ᾱ: the share of the clean latents' power that is left at each timestep. */
  readonly alphasCumprod: Float32Array<ArrayBuffer>;

  /**
   * A schedule from numbers.
   *
   * @throws {RangeError} If a variance is outside of (0, 1), the last is below the first, or there are fewer than two or more than
   * 100,000 timesteps.
   */
  constructor(private readonly options: NoiseScheduleOptions = {}) {
    const { trainTimesteps = 1000, betaStart = 0.00085, betaEnd = 0.012, predictionType = "epsilon" } = options;
    if (!Number.isInteger(trainTimesteps) || trainTimesteps < 2 || trainTimesteps > maxTimesteps) {
      throw new RangeError(
        `Cannot make a noise schedule: timesteps is ${trainTimesteps}, must be a whole number from 2 to ${maxTimesteps}`,
      );
    }
    if (!(betaStart > 0 && betaStart <= betaEnd && betaEnd < 1)) {
      throw new RangeError(
        `Cannot make a noise schedule: beta goes from ${betaStart} to ${betaEnd}, must be 0 < start <= end < 1`,
      );
    }
    this.predictionType = predictionType;
    this.betas = scaledLinearBetas(trainTimesteps, betaStart, betaEnd);
    this.alphasCumprod = cumulativeAlphas(this.betas);
  }

  /** The same noise for a model that predicts something else. */
  predicting(predictionType: PredictionType): NoiseSchedule {
    return predictionType === this.predictionType ? this : new NoiseSchedule({ ...this.options, predictionType });
  }

  /**
   * ᾱ for each timestep when √ᾱ is shifted and scaled so that it is 0 at the last timestep and as before at the first: training then sees pure noise, as
   * sampling begins with it.
   *
   * A model that predicts the noise learns nothing at that timestep; it is meant for velocity.
   *
   * @see Lin et al. 2023, https://arxiv.org/abs/2305.08891
   */
  zeroTerminalAlphas(): Float32Array<ArrayBuffer> {
    const roots = Float64Array.from(this.alphasCumprod, Math.sqrt), first = roots[0], last = roots.at(-1)!;
    return Float32Array.from(roots, (root) => ((root - last) * first / (first - last)) ** 2);
  }

  /**
   * The schedule that a Diffusers folder's `scheduler/scheduler_config.json` describes, whatever scheduler class it names.
   *
   * @param json The file's parsed content.
   * @param options.file Name shown in errors.
   * @throws {TypeError} If the content is not an object, or a value is missing or of a wrong kind.
   * @throws {RangeError} If the betas are not "scaled_linear", the prediction type is neither "epsilon" nor "v_prediction", or
   * the file asks for variances of its own (`trained_betas`) or for zero terminal SNR (`rescale_betas_zero_snr`).
   */
  static fromConfig(json: unknown, options: { file?: string } = {}): NoiseSchedule {
    const { file = "scheduler_config.json" } = options;
    if (typeof json !== "object" || json === null || Array.isArray(json)) {
      throw new TypeError(`Cannot read ${file}: found ${json === null ? "null" : typeof json}, expected an object`);
    }
    const config = json as Record<string, unknown>;
    requireOneOf(file, config, "beta_schedule", undefined, ["scaled_linear"]);
    requireOneOf(file, config, "trained_betas", null, [null]);
    requireOneOf(file, config, "rescale_betas_zero_snr", false, [false]);
    const facts: NoiseScheduleOptions = {
      trainTimesteps: requireNumber(file, config, "num_train_timesteps"),
      betaStart: requireNumber(file, config, "beta_start"),
      betaEnd: requireNumber(file, config, "beta_end"),
      predictionType: requireOneOf(file, config, "prediction_type", "epsilon", ["epsilon", "v_prediction"]),
    };
    try {
      return new NoiseSchedule(facts);
    } catch (error) {
      throw new RangeError(`Cannot use ${file}: ${(error as Error).message}`, { cause: error });
    }
  }

  /** Number of timesteps the model was trained on. */
  get trainTimesteps(): number {
    return this.betas.length;
  }

  /**
   * `√ᾱ` and `√(1−ᾱ)`: noisy latents are `latents · z + noise · ε`.
   *
   * @param timesteps `[batch]`, whole numbers from 0 to `trainTimesteps − 1`.
   * @throws {RangeError} If a timestep is outside of the schedule.
   */
  addNoiseCoefficients(timesteps: ArrayLike<number>): MixCoefficients {
    const alphas = this.#alphasAt(timesteps);
    return { latents: alphas.map(Math.sqrt), noise: alphas.map((alpha) => Math.sqrt(1 - alpha)) };
  }

  /**
   * Coefficients of the velocity `√ᾱ·ε − √(1−ᾱ)·z`, the target of a model that predicts velocity.
   *
   * @param timesteps `[batch]`, whole numbers from 0 to `trainTimesteps − 1`.
   * @throws {RangeError} If a timestep is outside of the schedule.
   * @see Salimans and Ho 2022, https://arxiv.org/abs/2202.00512
   */
  velocityCoefficients(timesteps: ArrayLike<number>): MixCoefficients {
    const alphas = this.#alphasAt(timesteps);
    return { latents: alphas.map((alpha) => -Math.sqrt(1 - alpha)), noise: alphas.map(Math.sqrt) };
  }

  /**
   * Coefficients of what the model is trained to predict: the noise itself, or the velocity.
   *
   * @param timesteps `[batch]`, whole numbers from 0 to `trainTimesteps − 1`.
   * @throws {RangeError} If a timestep is outside of the schedule.
   */
  targetCoefficients(timesteps: ArrayLike<number>): MixCoefficients {
    if (this.predictionType === "v_prediction") return this.velocityCoefficients(timesteps);
    const alphas = this.#alphasAt(timesteps);
    return { latents: alphas.map(() => 0), noise: alphas.map(() => 1) };
  }

  /**
   * Signal-to-noise ratio `ᾱ / (1 − ᾱ)`, a ratio of powers.
   *
   * @param timesteps `[batch]`, whole numbers from 0 to `trainTimesteps − 1`.
   * @throws {RangeError} If a timestep is outside of the schedule.
   */
  snr(timesteps: ArrayLike<number>): Float32Array<ArrayBuffer> {
    return this.#alphasAt(timesteps).map((alpha) => alpha / (1 - alpha));
  }

  #alphasAt(timesteps: ArrayLike<number>): Float32Array<ArrayBuffer> {
    return Float32Array.from(timesteps, (timestep, sample) => {
      const alpha = this.alphasCumprod[timestep];
      if (alpha === undefined) {
        throw new RangeError(
          `Cannot use timestep ${timestep} of sample ${sample}: must be a whole number from 0 to ${
            this.trainTimesteps - 1
          }`,
        );
      }
      return alpha;
    });
  }
}

/** Squares of numbers that go in equal steps from √start to √end, rounded to f32 as in the checkpoints' own training. */
function scaledLinearBetas(count: number, start: number, end: number): Float32Array<ArrayBuffer> {
  const first = Math.fround(Math.sqrt(start));
  const step = Math.fround((Math.fround(Math.sqrt(end)) - first) / (count - 1));
  return Float32Array.from({ length: count }, (_, timestep) => Math.fround(first + timestep * step) ** 2);
}

/** Running product of 1 − β: f32 factors, product in f64, each result rounded to f32. */
function cumulativeAlphas(betas: Float32Array): Float32Array<ArrayBuffer> {
  let product = 1;
  return Float32Array.from(betas, (beta) => product *= Math.fround(1 - beta));
}

function requireNumber(file: string, config: Record<string, unknown>, key: string): number {
  const value = config[key];
  if (typeof value !== "number") {
    throw new TypeError(`Cannot read ${file}: ${key} is ${JSON.stringify(value) ?? "missing"}, must be a number`);
  }
  return value;
}

function requireOneOf<T>(
  file: string,
  config: Record<string, unknown>,
  key: string,
  ifMissing: T | undefined,
  supported: T[],
): T {
  const value = config[key] === undefined ? ifMissing : config[key];
  if (value === undefined) {
    throw new TypeError(`Cannot read ${file}: ${key} is missing, must be ${JSON.stringify(supported[0])}`);
  }
  const found = supported.find((one) => one === value);
  if (found === undefined) {
    const wanted = supported.map((one) => JSON.stringify(one)).join(" or ");
    throw new RangeError(`Cannot use ${file}: ${key} is ${JSON.stringify(value)}, supported is ${wanted}`);
  }
  return found;
}
