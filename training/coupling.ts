import { add, scale, type Tensor } from "../engine/mod.ts";
import { type HookedModule, type HookOptions, moduleOrthogonality, selectHooks } from "../lora/hooked_modules.ts";
import type { LoraNetwork } from "../lora/network.ts";
import {
  hooks,
  textDivergence,
  type TextMask,
  textOrthogonality,
  unetDivergence,
  unetOrthogonality,
} from "../lora/orthogonality.ts";
import { downOrthogonality, upOrthogonality } from "../lora/weight_orthogonality.ts";
import type { Pass } from "./step_graph.ts";

/** The coupling of two networks in a step. */
export interface CouplingOptions {
  /** Off: the terms of the method's two hooks are measured, and reach no loss. */
  readonly on: boolean;
  readonly textCoefficient: number;
  readonly unetCoefficient: number;
  /** Of both divergences together; above 0 it draws the networks together, below 0 apart. */
  readonly divergenceCoefficient: number;
  readonly textMask: TextMask;
  /** Any set of modules beside the two; none when left out. */
  readonly hooks?: HookOptions & { readonly coefficient: number };
  /** Coefficient of `downOrthogonality`; 0 when left out. */
  readonly downCoefficient?: number;
  /** Coefficient of `upOrthogonality`; 0 when left out. */
  readonly upCoefficient?: number;
}

/** The modules beside the method's two whose hidden layers a step compares. */
export function hookedModules(
  [one, two]: readonly LoraNetwork[],
  { on, hooks: selected }: CouplingOptions,
): HookedModule[] {
  return on && selected && selected.coefficient !== 0 ? selectHooks(one, two, selected) : [];
}

/**
 * Traces what keeps two networks apart: `P = λ_te · O_te + λ_unet · O_unet + λ_kld · (KL_te + KL_unet) + λ_hooks · O_hooks + λ_down · W_down + λ_up · W_up`.
 *
 * @returns The penalty P, null where nothing is on, and the terms by the names that logs use. Those of the method's two hooks are always there; the others where
 * they are on.
 */
export function traceCoupling(
  one: Pass,
  two: Pass,
  hooked: readonly HookedModule[],
  options: CouplingOptions,
): { readonly penalty: Tensor | null; readonly terms: Readonly<Record<string, Tensor>> } {
  const terms: Record<string, Tensor> = {}, weighed: Tensor[] = [];
  const weigh = (term: Tensor, coefficient: number) => {
    // A term that is off must not be computed as 0 · P: an overflow in h would still make NaN.
    if (options.on && coefficient !== 0) weighed.push(scale(term, { factor: coefficient }));
  };
  const pair = (name: string) => [one.hidden.get(name), two.hidden.get(name)] as const;
  const [text1, text2] = pair(hooks.textEncoder), [unet1, unet2] = pair(hooks.unet);
  if (text1 && text2) {
    weigh(terms.orth_te = textOrthogonality(text1, text2, options.textMask), options.textCoefficient);
    weigh(terms.kld_te = textDivergence(text1, text2), options.divergenceCoefficient);
  }
  if (unet1 && unet2) {
    weigh(terms.orth_unet = unetOrthogonality(unet1, unet2), options.unetCoefficient);
    weigh(terms.kld_unet = unetDivergence(unet1, unet2), options.divergenceCoefficient);
  }
  if (hooked.length > 0) {
    const total = hooked.reduce((sum, { weight }) => sum + weight, 0);
    const found = hooked.map(({ name, weight }) => {
      const [h1, h2] = pair(name);
      if (!h1 || !h2) throw new Error(`Cannot keep ${name} apart: the models do not run this layer`);
      return scale(moduleOrthogonality(h1, h2, options.textMask), { factor: weight / total });
    });
    weigh(terms.orth_hooks = found.reduce((sum, each) => add(sum, each)), options.hooks!.coefficient);
  }
  const { downCoefficient = 0, upCoefficient = 0 } = options;
  if (options.on && downCoefficient !== 0) {
    weigh(terms.orth_down = downOrthogonality(one.lora, two.lora), downCoefficient);
  }
  if (options.on && upCoefficient !== 0) weigh(terms.orth_up = upOrthogonality(one.lora, two.lora), upCoefficient);
  return { penalty: weighed.length ? weighed.reduce((sum, each) => add(sum, each)) : null, terms };
}
