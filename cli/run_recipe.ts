import {
  type Description,
  descriptionText,
  eventText,
  InputError,
  InterruptedError,
  type RunEvent,
  type RunOptions,
} from "../pipeline/mod.ts";
import { StateError } from "../steps/outputs/state_folder.ts";
import { NoAdapterError } from "../steps/values/bases.ts";
import { DivergedError } from "../steps/values/training_loop.ts";
import { showProgress } from "./show_progress.ts";

/** Windows knows no SIGTERM. */
const signals: readonly Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];

/** What a script hands over: a recipe of any type. */
export interface RunnableRecipe {
  describe(): Promise<Description>;
  run(options?: RunOptions<never>): Promise<unknown>;
}

/** How a script runs its recipe. */
export interface RunRecipeOptions {
  /** Run folder; `out/<name of the recipe>` when left out. */
  readonly folder?: string;
  /** The script's arguments, the process's own when left out: `--describe` prints the recipe and runs nothing, `--stack` prints where an error came from. */
  readonly args?: readonly string[];
}

/** Exit codes of scripts. 75 is what batch schedulers take for: run it again. */
const exitCodes = { failed: 1, toChange: 2, diverged: 3, interrupted: 75 } as const;

/**
 * A script's last line: runs a recipe in the terminal, with progress. Ctrl-C stops it where it can go on (twice: at once). An error is one line on stderr
 * and ends the process: with exit code 2 if the machine has no WebGPU adapter, a state does not fit or a file of the user's cannot be used, 3 if training diverged, 75 after Ctrl-C or SIGTERM, else 1.
 */
export async function runRecipe(recipe: RunnableRecipe, options: RunRecipeOptions = {}): Promise<void> {
  const { folder, args = Deno.args } = options;
  const stop = new AbortController();
  const onInterrupt = () => {
    if (stop.signal.aborted) Deno.exit(exitCodes.interrupted);
    console.error("Stopping as soon as the work is saved; press Ctrl-C again to stop at once");
    stop.abort();
  };
  for (const signal of signals) Deno.addSignalListener(signal, onInterrupt);
  let failedStep: string | undefined;
  const show = showProgress({ showErrors: false });
  const onEvent = (event: RunEvent) => {
    if (event.type === "step-failed") failedStep = eventText(event);
    show(event);
  };
  try {
    if (args.includes("--describe")) console.log(descriptionText(await recipe.describe()));
    else await recipe.run({ ...(folder === undefined ? {} : { folder }), signal: stop.signal, onEvent });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    console.error(failedStep ?? error.message);
    if (args.includes("--stack")) console.error(error.stack);
    Deno.exit(
      error instanceof NoAdapterError || error instanceof StateError || error instanceof InputError
        ? exitCodes.toChange
        : error instanceof DivergedError
        ? exitCodes.diverged
        : error instanceof InterruptedError
        ? exitCodes.interrupted
        : exitCodes.failed,
    );
  } finally {
    for (const signal of signals) Deno.removeSignalListener(signal, onInterrupt);
  }
}
