import type { DiskUse } from "./disk_space.ts";
import type { Plan } from "./step.ts";
import { linkSteps } from "./links.ts";
import { findStepFolders, type StepFolder } from "./step_folder.ts";
import type { AnyStep } from "./type_errors.ts";

/** A recipe as plain data, with what can be known of it without running it. */
export interface Description {
  readonly name: string;
  readonly steps: readonly StepDescription[];
}

/** A step as plain data. */
export interface StepDescription {
  readonly name: string;
  readonly options: unknown;
  readonly needs: readonly string[];
  readonly gives: readonly string[];
  readonly replaces: readonly string[];
  readonly releases: readonly string[];
  /** True if its product is kept on disk. */
  readonly stored: boolean;
  /** Named numbers: steps per epoch, trained parameters, peak bytes. */
  readonly figures: { readonly [name: string]: number };
  readonly lines: readonly string[];
  /** What it will write to the disk. */
  readonly disk: readonly DiskUse[];
  /** Name of the needed thing that stopped the plan, because no earlier step could say anything of it. */
  readonly unplanned?: string;
}

/** Thrown inside a plan that reads a thing nothing is known of. */
class UnplannedError extends Error {
  readonly thing: string;
  constructor(thing: string) {
    super(`Nothing is known of '${thing}' before the run`);
    this.thing = thing;
  }
}

/** A step's plan, and the name of the needed thing that stopped it. */
interface PlannedStep {
  readonly plan: Plan<Record<string, unknown>>;
  readonly unplanned?: string;
}

/** Plans each step in order, each with what the earlier ones could say, and what its folder tells of starts before. */
export async function* planSteps(
  steps: readonly AnyStep[],
  folders: readonly StepFolder[],
): AsyncGenerator<PlannedStep, void> {
  const { sources } = linkSteps(steps);
  const known: Record<string, unknown>[] = [];
  for (const [index, step] of steps.entries()) {
    const planned = {};
    for (const [name, source] of Object.entries(sources[index])) {
      Object.defineProperty(planned, name, {
        enumerable: true,
        get: () => {
          if (known[source][name] === undefined) throw new UnplannedError(name);
          return known[source][name];
        },
      });
    }
    let plan: Plan<Record<string, unknown>> = {};
    let unplanned: string | undefined;
    try {
      plan = await step.plan?.(planned, await folders[index].earlier(step)) ?? {};
    } catch (error) {
      if (!(error instanceof UnplannedError)) throw error;
      unplanned = error.thing;
    }
    known[index] = plan.gives ?? {};
    yield { plan, ...(unplanned === undefined ? {} : { unplanned }) };
  }
}

/**
 * What a recipe's steps say of themselves before they run.
 *
 * @param folder Run folder, there or not: what an earlier run has begun there is looked at.
 */
export async function describeSteps(
  recipe: { readonly name: string; readonly steps: readonly AnyStep[] },
  folder: string,
): Promise<Description> {
  const steps: StepDescription[] = [];
  const folders = await findStepFolders(folder, recipe.steps.map(({ name }) => name), { renumber: false });
  for await (const { plan, unplanned } of planSteps(recipe.steps, folders)) {
    const step = recipe.steps[steps.length], given = Object.keys(step.gives);
    steps.push({
      name: step.name,
      options: step.options,
      needs: Object.keys(step.needs),
      gives: given.filter((name) => !step.gives[name].replaces),
      replaces: given.filter((name) => step.gives[name].replaces),
      releases: step.releases,
      stored: step.store !== undefined,
      figures: plan.figures ?? {},
      lines: plan.lines ?? [],
      disk: plan.disk ?? [],
      ...(unplanned === undefined ? {} : { unplanned }),
    });
  }
  return { name: recipe.name, steps };
}
