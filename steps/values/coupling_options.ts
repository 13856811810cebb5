import { checkHooks, type HookOptions } from "../../lora/hooked_modules.ts";
import type { TextMask } from "../../lora/orthogonality.ts";
import type { StepForm } from "../../training/step_graph.ts";
import { checkOptions, type OptionNames } from "./check_options.ts";

/** The coupling between two networks; false trains without it. */
export type OrthogonalitySetting = false | {
  /** Coefficient of the text term (`--orth_te_coefficient`); 1 when left out. */
  readonly textEncoder?: number;
  /** Coefficient of the UNet term (`--orth_unet_coefficient`); 1 when left out. */
  readonly unet?: number;
  /**
   * Coefficient of the divergence between the networks' hidden layers (`--kld_coefficient`), which the original reads and never uses; 0, off, when left
   * out. The loss falls with it: above 0 it draws the networks together, below 0 it drives them apart.
   */
  readonly divergence?: number;
  /** Hidden layers of any other set of modules, each term weighted by its block; none when left out. */
  readonly hooks?: HookOptions & {
    /** Coefficient of the weighted mean of their terms; 1 when left out. */
    readonly coefficient?: number;
  };
  /** Coefficient of `‖A₁·A₂ᵀ‖²`, the mean over all modules' down projections; 0, off, when left out. */
  readonly down?: number;
  /** Coefficient of `‖B₁ᵀ·B₂‖²`, the mean over all modules' up projections; 0, off, when left out. */
  readonly up?: number;
  /** `1-I`, the method's formula, when left out; `I` is what the original's code does. */
  readonly textMask?: TextMask;
  /** `clean` when left out; `original` has the original script's gradients. */
  readonly form?: StepForm;
};

const orthogonalityNames: OptionNames<Exclude<OrthogonalitySetting, false>> = {
  textEncoder: true,
  unet: true,
  divergence: true,
  hooks: true,
  down: true,
  up: true,
  textMask: true,
  form: true,
};

/** What network 2 also learns with both networks in one base; false: nothing. */
export type StackSetting = false | {
  /** Coefficient of the stack's loss on network 2's data, towards the noise; 1 when left out. */
  readonly own?: number;
  /** Coefficient of the stack's distance on network 1's data, towards what network 1 alone predicts there; 1 when left out. */
  readonly other?: number;
};

/**
 * Checks the stack's options before anything runs.
 *
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If a coefficient is out of range, or the coupling is in the original form.
 */
export function checkStack(step: string, stack: StackSetting, orthogonality: OrthogonalitySetting): void {
  if (stack === false) return;
  checkOptions<Exclude<StackSetting, false>>(step, stack, { own: true, other: true }, "stack");
  const { own = 1, other = 1 } = stack;
  for (const [name, value] of Object.entries({ own, other })) {
    if (!Number.isFinite(value) || value < 0) {
      throw new RangeError(`Cannot train: stack.${name} is ${value}, must be a number from 0 on`);
    }
  }
  if (own === 0 && other === 0) {
    throw new RangeError("Cannot train: stack.own and stack.other are 0; leave stack out, or raise one of them");
  }
  if (orthogonality !== false && orthogonality.form === "original") {
    throw new RangeError("Cannot train: stack cannot go with orthogonality.form original, take clean");
  }
}

/**
 * Checks the coupling's options before anything runs.
 *
 * @param step Name of the step they belong to.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If a value is out of range.
 */
export function checkOrthogonality(step: string, options: Exclude<OrthogonalitySetting, false>): void {
  checkOptions<Exclude<OrthogonalitySetting, false>>(step, options, orthogonalityNames, "orthogonality");
  const { textEncoder = 1, unet = 1, divergence = 0, down = 0, up = 0, textMask = "1-I", form = "clean" } = options;
  const { hooks } = options;
  if (hooks) {
    checkOptions(step, hooks, { modules: true, blockWeights: true, coefficient: true }, "orthogonality.hooks");
    checkHooks(hooks);
  }
  const numbers = { textEncoder, unet, divergence, down, up, "hooks.coefficient": hooks?.coefficient ?? 1 };
  for (const [name, value] of Object.entries(numbers)) {
    if (!Number.isFinite(value)) {
      throw new RangeError(`Cannot train: orthogonality.${name} is ${value}, must be a number`);
    }
  }
  if (!["1-I", "I"].includes(textMask)) {
    throw new RangeError(`Cannot train: orthogonality.textMask is ${JSON.stringify(textMask)}, must be 1-I or I`);
  }
  if (!["clean", "original"].includes(form)) {
    throw new RangeError(`Cannot train: orthogonality.form is ${JSON.stringify(form)}, must be clean or original`);
  }
}

/** The trainer's names for the coupling. */
export function couplingOptions({ orthogonality, stack }: {
  readonly orthogonality: OrthogonalitySetting;
  readonly stack: StackSetting;
}) {
  const setting = orthogonality === false ? {} : orthogonality;
  const { textEncoder = 1, unet = 1, divergence = 0, hooks, down = 0, up = 0, textMask, form } = setting;
  return {
    ...{ textCoefficient: textEncoder, unetCoefficient: unet, divergenceCoefficient: divergence },
    ...{ downCoefficient: down, upCoefficient: up, textMask: textMask ?? "1-I", form: form ?? "clean" },
    ...(hooks ? { hooks: { ...hooks, coefficient: hooks.coefficient ?? 1 } } : {}),
    ...(stack === false ? {} : { stack: { own: stack.own ?? 1, other: stack.other ?? 1 } }),
  } as const;
}
