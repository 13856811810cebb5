import type { Command } from "@commander-js/extra-typings";
import { type Description, descriptionText, type RecordOptions, startedHere } from "../pipeline/mod.ts";
import { completeSettings } from "./recipe/complete_settings.ts";
import { idleFlags, idleNotes } from "./recipe/idle_flags.ts";
import { planRecipe } from "./recipe/plan_recipe.ts";
import { anywhere, commandText, recipeScript } from "./recipe/recipe_script.ts";
import { recipeOf } from "./recipe/step_calls.ts";
import { asUsageError } from "./recipe/step_errors.ts";
import { runRecipe } from "./run_recipe.ts";
import { listenForStop } from "./stop_signals.ts";
import type { FlagValues } from "./flags/table.ts";
import { changedValues, checkStatus, readSettings, type Settings } from "./settings/settings.ts";
import { isFault } from "./exit_codes.ts";
import { UsageError } from "./usage_error.ts";
import { settingsPath, writeSettingsFile } from "./settings/settings_file.ts";

/**
 * What `train` does: reads the settings, makes a recipe of them, and runs it, prints it or describes it.
 *
 * @param command The parsed command.
 * @param args The command line, for the printed script.
 * @throws {UsageError} If the user has to change a setting, or what it names.
 */
export async function train(command: Command, args: readonly string[]): Promise<void> {
  const settings = await readSettings(command), { values } = settings, meanings = checkStatus(settings);
  if (values.output_config) return await writeSettings(settings, meanings);
  using stop = listenForStop();
  const prepare = async (values: FlagValues) => {
    const plan = await planRecipe({ ...settings, values });
    await recipeOf(plan).describe({ folder: plan.folder });
  };
  await tellingFlags(values, prepare, async () => {
    const plan = await planRecipe(settings), recipe = recipeOf(plan);
    const notes = await notesOf(settings, meanings);
    if (values.debug_dataset) {
      notes.push("--debug_dataset stops before training: flags about that wait for a run without it");
    }
    if (values.save_state && plan.calls.some(([step]) => step === "pretrainNetwork1") && settings.isPair) {
      notes.push("--save_state saves none while network 1 is pretrained: a state is of both networks");
    }
    showNotes(notes);
    if (values.print_recipe) {
      const command = commandText(args.filter((word) => word !== "--print_recipe"));
      return console.log(recipeScript(plan, command, anywhere()).trimEnd());
    }
    // Looks at all that the run will read, before anything is computed.
    const description = await recipe.describe({ folder: plan.folder });
    if (values.describe) return console.log(descriptionText(description));
    console.log(`${sentencesOf(description)}\n`);
    await runRecipe(recipe, {
      ...{ folder: plan.folder, args: values.stack ? ["--stack"] : [], signal: stop.signal },
      record: recordOf(values),
    });
  });
}

/** Writes settings into a file, if a run would take them; models and data are not looked at, and may be missing. */
async function writeSettings(settings: Settings, meanings: readonly string[]): Promise<void> {
  const { values } = settings, path = settingsPath(values.config_file!);
  const make = async (values: FlagValues) => recipeOf(await planRecipe(completeSettings({ ...settings, values })));
  await tellingFlags(values, make, async () => {
    await make(values);
    showNotes(await notesOf(completeSettings(settings), meanings));
  });
  await writeSettingsFile(path, changedValues(settings));
  console.error(`Settings are in ${path}: use them with --config_file=${path}`);
}

/** What the user should know of the flags that are given, in sentences. */
async function notesOf(settings: Settings, meanings: readonly string[]): Promise<string[]> {
  return [...settings.notes, ...meanings, ...idleNotes(settings, await idleFlags(settings))];
}

function showNotes(notes: readonly string[]): void {
  for (const note of notes) console.error(`Note: ${note}`);
}

/**
 * Does something with a recipe; what its steps refuse is told with the flag that it comes from.
 *
 * @param prepare See {@link asUsageError}.
 */
async function tellingFlags(
  values: FlagValues,
  prepare: (values: FlagValues) => Promise<unknown>,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Error) || error instanceof UsageError || isFault(error)) throw error;
    if (values.stack) console.error(error.stack);
    throw await asUsageError(error, values, prepare);
  }
}

/** How the run can be started again, and the files that say what it is. */
function recordOf(values: FlagValues): Omit<RecordOptions, "exitCodeOf"> {
  const { output_dir, logging_dir, logging_dir_2, config_file, dataset_config, dataset_config_2 } = values;
  const folders = Object.entries({ output_dir, logging_dir, logging_dir_2 }).filter(([, folder]) => folder);
  const files = [config_file && settingsPath(config_file), dataset_config, dataset_config_2];
  return {
    started: startedHere(Object.fromEntries(folders as [string, string][])),
    inputs: files.filter((file) => file).map(String),
  };
}

/** What each step says of itself, before anything is computed: its table, what it reads, the files it will write. */
function sentencesOf({ steps }: Description): string {
  return steps.filter(({ lines }) => lines.length > 0)
    .map(({ name, lines }) => [name, ...lines.map((line) => `    ${line}`)].join("\n")).join("\n");
}
