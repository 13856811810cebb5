import { describeSteps, type Description } from "./describe.ts";
import { type RunOptions, type RunResult, runSteps } from "./run.ts";
import { folderWord } from "./step.ts";
import type { Nothing, Things, Values } from "./thing.ts";
import type { AnyStep, ContextAfter, Fitting, GoneAfter } from "./type_errors.ts";

/**
 * A recipe: named steps in order, each checked to fit behind the ones before it. Immutable.
 *
 * @typeParam Context Things that are there after the last step, by name.
 * @typeParam Gone Names that a step released.
 */
export class Pipeline<Context extends Things = Nothing, Gone extends string = never> {
  readonly name: string;
  readonly steps: readonly AnyStep[];

  /** Recipes are made by {@link pipeline} and {@link Pipeline.use}. */
  constructor(name: string, steps: readonly AnyStep[]) {
    this.name = name;
    this.steps = Object.freeze([...steps]);
    Object.freeze(this);
  }

  /**
   * This recipe with one more step.
   *
   * A step that does not fit does not compile: the editor shows, for instance, `step needs 'latents', which no earlier
   * step gives`.
   *
   * @throws {TypeError} The same sentences, for code that is not type-checked.
   */
  use<S extends AnyStep>(step: Fitting<Context, Gone, S>): Pipeline<ContextAfter<Context, S>, GoneAfter<Gone, S>> {
    // The type says that it is a step or a sentence; which one is what the check finds out.
    const added = step as AnyStep;
    const misfit = findMisfit(this.steps, added);
    if (misfit !== undefined) {
      throw new TypeError(`Cannot use step '${added.name}' in recipe '${this.name}': ${misfit}`);
    }
    return new Pipeline(this.name, [...this.steps, added]);
  }

  /** A dry run: what each step needs, gives and plans, in a run folder as for {@link run}. Changes nothing there and asks for no GPU. */
  describe({ folder = this.#usualFolder() }: { readonly folder?: string } = {}): Promise<Description> {
    return describeSteps(this, folder);
  }

  /**
   * Runs the steps in order. What an earlier run in the same folder made is used where nothing it depends on changed.
   *
   * @throws {InterruptedError} If the signal stopped the run.
   * @throws {Error} If another run works in the folder; whatever a step throws.
   */
  async run<const Kept extends keyof Context & string = never>(
    options: RunOptions<Kept> = {},
  ): Promise<RunResult<Values<Pick<Context, Kept>>>> {
    const folder = options.folder ?? this.#usualFolder();
    // Steps are typed one by one; together they are run untyped, and use() has checked that the names fit.
    return await runSteps(this, folder, options) as RunResult<Values<Pick<Context, Kept>>>;
  }

  #usualFolder(): string {
    return `out/${folderWord(this.name)}`;
  }
}

/**
 * Starts a recipe without steps.
 *
 * @param name Also names the default run folder.
 * @throws {TypeError} If the name has no letter and no digit.
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(pipeline("new clothes").steps, []);
 * ```
 */
export function pipeline(name: string): Pipeline {
  if (folderWord(name) === "") {
    throw new TypeError(`Cannot name a recipe ${JSON.stringify(name)}: a name needs at least one letter or digit`);
  }
  return new Pipeline(name, []);
}

/** Why a step does not fit behind others, in the words of the type errors; `undefined` if it fits. */
function findMisfit(steps: readonly AnyStep[], step: AnyStep): string | undefined {
  const there = new Set<string>();
  const gone = new Set<string>();
  for (const { gives, releases } of steps) {
    for (const name of releases) {
      there.delete(name);
      gone.add(name);
    }
    for (const name of Object.keys(gives)) there.add(name);
  }
  for (const name of Object.keys(step.needs)) {
    if (there.has(name)) continue;
    return `step needs '${name}', which ${gone.has(name) ? "an earlier step released" : "no earlier step gives"}`;
  }
  for (const name of step.releases) there.delete(name);
  for (const [name, given] of Object.entries(step.gives)) {
    if (given.replaces && !there.has(name)) return `step replaces '${name}', which no earlier step gives`;
    if (!given.replaces && there.has(name)) {
      return `step gives '${name}', which an earlier step gave: declare it as replacing(…)`;
    }
  }
  return undefined;
}
