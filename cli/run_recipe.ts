import { basename } from "node:path";
import {
  type Description,
  descriptionText,
  eventText,
  type RecordOptions,
  type RunEvent,
  type RunOptions,
  startedHere,
} from "../pipeline/mod.ts";
import { exitCodeOf } from "./exit_codes.ts";
import { showProgress } from "./show_progress.ts";
import { listenForStop } from "./stop_signals.ts";
import { taskCommand } from "./task_command.ts";

/** What a script hands over: a recipe of any type. */
export interface RunnableRecipe {
  describe(options?: { readonly folder?: string }): Promise<Description>;
  run(options?: RunOptions<never>): Promise<unknown>;
}

/** How a script runs its recipe. */
export interface RunRecipeOptions {
  /** Run folder; `out/<name of the recipe>` when left out. */
  readonly folder?: string;
  /** What the script looks up in its arguments by itself, each with a sentence for `--help`: `{ "--quick": "fewer steps", "--rank <rank>": "of both networks" }`. */
  readonly flags?: { readonly [flag: string]: string };
  /**
   * The script's arguments, the process's own when left out: `--describe` prints the recipe and runs nothing, `--stack` prints where an error came from, `--help`
   * names all flags, `--output_dir` is for `outputFolder`. What is none of these and not in `flags` ends the process with exit code 2.
   */
  readonly args?: readonly string[];
  /** Stops the run. What the operating system sends when left out. */
  readonly signal?: AbortSignal;
  /** What `run.json` says of how the run was started; this script when left out. */
  readonly record?: Omit<RecordOptions, "exitCodeOf">;
}

/**
 * A script's last line: runs a recipe in the terminal, with progress. Ctrl-C, SIGTERM and SIGUSR2 stop it where it can go on (Ctrl-C twice: at once). An error
 * is one line on stderr and ends the process: with exit code 2 if the machine, the recipe or what it names has to be changed, 3 if training diverged, 75 if
 * it was stopped or the device was lost and the same recipe goes on, 1 for a fault of the program.
 */
export async function runRecipe(recipe: RunnableRecipe, options: RunRecipeOptions = {}): Promise<void> {
  const { folder, args = Deno.args, flags = {}, record = {} } = options, { describe, stack } = readFlags(args, flags);
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
    if (describe) console.log(descriptionText(await recipe.describe(place)));
    else await recipe.run({ ...place, signal, onEvent, record: { ...record, exitCodeOf } });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    console.error(failedStep ?? error.message);
    if (stack) console.error(error.stack);
    Deno.exit(exitCodeOf(error));
  }
}

/** Ends the process where it is asked for help, or a word is not known. */
function readFlags(args: readonly string[], own: NonNullable<RunRecipeOptions["flags"]>) {
  const command = taskCommand(
    basename(Deno.mainModule),
    "Runs a recipe, and goes on with it where it was stopped.",
  );
  for (const [flag, does] of Object.entries(own)) command.option(flag, does);
  if (startedHere()?.folders.output_dir !== undefined) {
    command.option("--output_dir <folder>", "where it writes, in the place of its own folder");
  }
  return command.option("--describe", "print what the recipe will do, and run nothing")
    .option("--stack", "print where an error came from")
    .parse([...args], { from: "user" }).opts();
}
