import { add, gradients, mean, sqrt, square, sum, type Tensor } from "../../engine/mod.ts";
import type { LoraNetwork } from "../../lora/network.ts";
import { textOrthogonality } from "../../lora/orthogonality.ts";
import type { StepGraph, StepNetwork } from "../../training/step_graph.ts";

/** What a dual step's gradients are made of, before weights, coefficients and clipping. */
export interface Components {
  /** `norm_<k>_of_the_orthogonality_gradient`, of `orth_te + orth_unet` in each network that trains. */
  readonly norms: Readonly<Record<string, Tensor>>;
  /** `<term>.network_<k>.<tensor>` for `mse`, `orth_te`, `orth_te_mask_I` and `orth_unet`; none for a tensor that the term does not depend on. */
  readonly gradients: Readonly<Record<string, Tensor>>;
}

/** Traces them behind a step of two networks. */
export function traceComponents({ figures, hidden }: StepGraph, networks: readonly StepNetwork[]): Components {
  const norms: Record<string, Tensor> = {}, found: Record<string, Tensor> = {};
  const { hook_text_1: one, hook_text_2: two } = hidden;
  for (const { number, lora, trains } of networks) {
    if (!trains) continue;
    const terms: Record<string, Tensor | null> = {
      mse: mean(figures[`mse_${number}`]),
      orth_te: figures.orth_te ?? null,
      orth_te_mask_I: one && two ? textOrthogonality(one, two, "I") : null,
      orth_unet: figures.orth_unet ?? null,
    };
    for (const [term, value] of Object.entries(terms)) {
      if (!value) continue;
      for (const [tensor, gradient] of gradientsOf(value, lora)) {
        found[`${term}.network_${number}.${tensor}`] = gradient;
      }
    }
    const both = [terms.orth_te, terms.orth_unet].filter((term) => term !== null);
    if (both.length === 0) continue;
    const squares = gradientsOf(both.reduce(add), lora).map(([, gradient]) => sum(square(gradient)));
    norms[`norm_${number}_of_the_orthogonality_gradient`] = sqrt(squares.reduce(add));
  }
  return { norms, gradients: found };
}

function gradientsOf(term: Tensor, { tensors }: LoraNetwork): [string, Tensor][] {
  const found = gradients(term, tensors.map(({ tensor }) => tensor));
  return tensors.flatMap(({ name }, i): [string, Tensor][] => found[i] ? [[name, found[i]]] : []);
}
