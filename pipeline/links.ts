import type { Slot } from "./held_values.ts";
import type { AnyStep } from "./type_errors.ts";

/** Where each needed value comes from, and how long each is needed. Follows from the steps alone. */
export interface Links {
  /** For each step, the index of the step that gives each needed name. */
  readonly sources: readonly { readonly [name: string]: number }[];
  /** For each name that is there at the end, the index of the step that gave it. */
  readonly final: { readonly [name: string]: number };
  /** Index of the last step that needs a value; the giving step's own if none does. */
  lastUse(slot: Slot): number;
}

/** Follows every name through a recipe. */
export function linkSteps(steps: readonly AnyStep[]): Links {
  const there: Record<string, number> = {};
  const uses = new Map<string, number>();
  const sources = steps.map((step, index) => {
    const found: Record<string, number> = {};
    for (const name of Object.keys(step.needs)) {
      found[name] = there[name];
      uses.set(`${there[name]} ${name}`, index);
    }
    for (const name of step.releases) delete there[name];
    for (const name of Object.keys(step.gives)) there[name] = index;
    return found;
  });
  return { sources, final: there, lastUse: ({ index, name }) => uses.get(`${index} ${name}`) ?? index };
}
