import { add, mean, multiply, scale, type Tensor } from "../engine/mod.ts";
import type { Part } from "../lora/network.ts";
import { stacked } from "../models/source.ts";
import { tracePrediction } from "./denoising.ts";
import { sampleLoss } from "./loss.ts";
import type { Pass } from "./step_graph.ts";

/** What network 2 learns with both networks in one base, beside its own loss. */
export interface StackOptions {
  /** Coefficient of the stack's loss on network 2's data, towards the noise. */
  readonly own: number;
  /** Coefficient of the stack's distance on network 1's data, towards what network 1 alone predicts there. */
  readonly other: number;
}

/**
 * Traces what the stack adds to network 2's loss:
 *
 *     own · mean(w₂ s₂ · MSE(ε₁₂(z₂), target₂)) + other · mean(w₁ s₁ · MSE(ε₁₂(z₁), ε₁(z₁)))
 *
 * with z_k network k's noisy latents with its captions, ε₁₂ the prediction with both networks and ε₁ with network 1 alone. The distances are of the networks' own kind of
 * loss; dropout is off in ε₁₂. A coefficient of 0 computes nothing.
 *
 * @returns `[]`, and the two terms before their coefficients.
 */
export function traceStackLoss(
  one: Pass,
  two: Pass,
  { own, other }: StackOptions,
): { readonly loss: Tensor; readonly terms: Readonly<Record<string, Tensor>> } {
  const adapters = (part: Part) => stacked([one, two].map(({ lora }) => lora.adapters(part)));
  const distance = ({ request, batch, mseWeights }: Pass, target: Tensor) => {
    const prediction = tracePrediction({ ...request, adapters }, batch);
    return mean(multiply(mseWeights, sampleLoss(prediction, target, request.loss.type ?? "l2", batch.threshold)));
  };
  const terms: Record<string, Tensor> = {}, weighed: Tensor[] = [];
  if (own !== 0) weighed.push(scale(terms.stack_own = distance(two, two.batch.target), { factor: own }));
  if (other !== 0) weighed.push(scale(terms.stack_other = distance(one, one.prediction), { factor: other }));
  if (weighed.length === 0) throw new RangeError("Cannot train the stack: both coefficients are 0");
  return { loss: weighed.reduce((sum, each) => add(sum, each)), terms };
}
