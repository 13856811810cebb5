import {
  type Description,
  descriptionText,
  eventText,
  type RecordOptions,
  type RunEvent,
  type RunOptions,
} from "../pipeline/mod.ts";
import { exitCodeOf } from "./exit_codes.ts";
import { showProgress } from "./show_progress.ts";
import { listenForStop } from "./stop_signals.ts";

/** What a script hands over: a recipe of any type. */
export interface RunnableRecipe {
  describe(options?: { readonly folder?: string }): Promise<Description>;
  run(options?: RunOptions<never>): Promise<unknown>;
}

/** How a script runs its recipe. */
export interface RunRecipeOptions {
  /** Run folder; `out/<name of the recipe>` when left out. */
  readonly folder?: string;
  /** The script's arguments, the process's own when left out: `--describe` prints the recipe and runs nothing, `--stack` prints where an error came from, `--help` names these two. */
  readonly args?: readonly string[];
  /** Stops the run. What the operating system sends when left out. */
  readonly signal?: AbortSignal;
  /** What `run.json` says of how the run was started; this script when left out. */
  readonly record?: Omit<RecordOptions, "exitCodeOf">;
}

const HELP = `Runs a recipe, and goes on with it where it was stopped.

  --describe  print what the recipe will do, and run nothing
  --stack     print where an error came from
  -h, --help  print this, and run nothing

Flags of its own stand in the script.`;

/**
 * A script's last line: runs a recipe in the terminal, with progress. Ctrl-C, SIGTERM and SIGUSR2 stop it where it can go on (Ctrl-C twice: at once). An error
 * is one line on stderr and ends the process: with exit code 2 if the machine, the recipe or what it names has to be changed, 3 if training diverged, 75 if
 * it was stopped or the device was lost and the same recipe goes on, 1 for a fault of the program.
 */
export async function runRecipe(recipe: RunnableRecipe, options: RunRecipeOptions = {}): Promise<void> {
  const { folder, args = Deno.args, record = {} } = options;
  if (args.includes("--help") || args.includes("-h")) return console.log(HELP);
  using own = options.signal ? null : listenForStop();
  const signal = options.signal ?? own!.signal;
  const place = folder === undefined ? {} : { folder };
  let failedStep: string | undefined;
  const show = showProgress({ showErrors: false });
  const onEvent = (event: RunEvent) => {
    if (event.type === "step-failed") failedStep = eventText(event);
    show(event);
  };
  try {
    if (args.includes("--describe")) console.log(descriptionText(await recipe.describe(place)));
    else await recipe.run({ ...place, signal, onEvent, record: { ...record, exitCodeOf } });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    console.error(failedStep ?? error.message);
    if (args.includes("--stack")) console.error(error.stack);
    Deno.exit(exitCodeOf(error));
  }
}
