import { minSnrWeights } from "../../models/noise/min_snr.ts";
import type { NoiseSchedule } from "../../models/noise/schedule.ts";
import type { BatchShape } from "../../training/denoising.ts";
import { numbersOption, positiveOption, type ProbeOptions } from "./options.ts";
import { entryOf, type NamedTensor, tensorOf, type TensorSet, toNhwc } from "./tensors.ts";

/** Options that weigh a batch's samples. */
export const batchOptions = ["loss_weights_1", "loss_weights_2", "min_snr_gamma"] as const;

/** One micro-batch for both networks: shapes, and feeds but for the learning rates. */
export interface MicroBatch {
  readonly shapes: readonly [BatchShape, BatchShape];
  readonly feeds: Readonly<Record<string, ArrayLike<number>>>;
}

/** Tokens of a row. */
const rowTokens = 77;

/**
 * Micro-batch `index` of a set of the input. Both networks see the same timesteps; the smaller batch takes the first of them.
 *
 * @throws {RangeError} If timesteps, ids or loss weights do not fit the batches.
 */
export function microBatch(
  input: TensorSet,
  options: ProbeOptions,
  prefix: string,
  index: number,
  schedule: NoiseSchedule,
): MicroBatch {
  const timesteps = Array.from(entryOf(tensorOf(input, `${prefix}timesteps`), index).data);
  const feeds: Record<string, ArrayLike<number>> = {};
  const shapeOf = (k: 1 | 2): BatchShape => {
    const entry = (name: string) => entryOf(tensorOf(input, `${prefix}${name}_${k}`), index);
    const latents = picture(entry("latents"), `${prefix}latents_${k}`);
    const noise = picture(entry("noise"), `${prefix}noise_${k}`), ids = entry("input_ids");
    const [batch, height, width] = latents.shape, own = timesteps.slice(0, batch);
    if (own.length < batch) {
      throw new RangeError(
        `Cannot probe: ${prefix}timesteps has ${own.length} a step, ${prefix}latents_${k} a batch of ${batch}`,
      );
    }
    const tokenRows = ids.data.length / (batch * rowTokens);
    if (!Number.isInteger(tokenRows) || tokenRows === 0) {
      throw new RangeError(
        `Cannot probe: ${prefix}input_ids_${k} has ${ids.data.length} ids a step, ` +
          `wanted rows of ${rowTokens} for each of ${batch} samples`,
      );
    }
    const signal = schedule.addNoiseCoefficients(own);
    const gamma = positiveOption(options, "min_snr_gamma", 0);
    const snr = gamma ? minSnrWeights(schedule.snr(own), { gamma }) : own.map(() => 1);
    const weights = lossWeights(options, `loss_weights_${k}`, batch);
    Object.assign(feeds, {
      [`latents_${k}`]: latents.data,
      [`noise_${k}`]: noise.data,
      [`ids_${k}`]: ids.data,
      [`timesteps_${k}`]: own,
      [`signal_${k}`]: signal.latents,
      [`sigma_${k}`]: signal.noise,
      [`loss_weights_${k}`]: weights,
      [`mse_weights_${k}`]: weights.map((weight, i) => weight * snr[i]),
    });
    return { batch, height, width, tokenRows };
  };
  return { shapes: [shapeOf(1), shapeOf(2)], feeds };
}

function picture(tensor: NamedTensor, name: string): NamedTensor {
  if (tensor.shape.length === 4) return toNhwc(tensor);
  throw new TypeError(
    `Cannot probe: ${name} has [${tensor.shape.join(", ")}] behind the steps, wanted [batch, 4, height, width]`,
  );
}

/** Weights for a batch: the first of them, where the option has more; equal ones are a rule for a batch of any size. */
function lossWeights(options: ProbeOptions, name: string, batch: number): readonly number[] {
  const weights = numbersOption(options, name, [1]);
  if (weights.length >= batch) return weights.slice(0, batch);
  if (weights.length > 0 && weights.every((weight) => weight === weights[0])) return Array(batch).fill(weights[0]);
  throw new RangeError(
    `Cannot probe: option ${name} has ${weights.length} numbers, the batch has ${batch} samples`,
  );
}
