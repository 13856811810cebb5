import type { Command } from "@commander-js/extra-typings";
import { type Description, descriptionText } from "../pipeline/mod.ts";
import { idleFlags, idleNotes } from "./recipe/idle_flags.ts";
import { planRecipe } from "./recipe/plan_recipe.ts";
import { anywhere, commandText, recipeScript } from "./recipe/recipe_script.ts";
import { recipeOf } from "./recipe/step_calls.ts";
import { asUsageError } from "./recipe/step_errors.ts";
import { runRecipe } from "./run_recipe.ts";
import { listenForStop } from "./stop_signals.ts";
import { changedValues, checkStatus, readSettings } from "./settings/settings.ts";
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
  const settings = await readSettings(command), { values } = settings;
  if (values.output_config) {
    const path = settingsPath(values.config_file!);
    await writeSettingsFile(path, changedValues(settings));
    console.error(`Settings are in ${path}: use them with --config_file=${path}`);
    return;
  }
  const meanings = checkStatus(settings);
  using stop = listenForStop();
  try {
    const plan = await planRecipe(settings), recipe = recipeOf(plan);
    const notes = [...settings.notes, ...meanings, ...idleNotes(settings, await idleFlags(settings))];
    if (values.debug_dataset) {
      notes.push("--debug_dataset stops before training: flags about that wait for a run without it");
    }
    if (values.save_state && plan.calls.some(([step]) => step === "pretrainNetwork1") && settings.isPair) {
      notes.push("--save_state saves none while network 1 is pretrained: a state is of both networks");
    }
    for (const note of notes) console.error(`Note: ${note}`);
    if (values.print_recipe) {
      const command = commandText(args.filter((word) => word !== "--print_recipe"));
      return console.log(recipeScript(plan, command, anywhere()).trimEnd());
    }
    // Looks at all that the run will read, before anything is computed.
    const description = await recipe.describe();
    if (values.describe) return console.log(descriptionText(description));
    console.log(`${sentencesOf(description)}\n`);
    await runRecipe(recipe, { folder: plan.folder, args: values.stack ? ["--stack"] : [], signal: stop.signal });
  } catch (error) {
    if (!(error instanceof Error) || error instanceof UsageError) throw error;
    if (values.stack) console.error(error.stack);
    throw await asUsageError(
      error,
      values,
      async (values) => await recipeOf(await planRecipe({ ...settings, values })).describe(),
    );
  }
}

/** What each step says of itself, before anything is computed: its table, what it reads, the files it will write. */
function sentencesOf({ steps }: Description): string {
  return steps.filter(({ lines }) => lines.length > 0)
    .map(({ name, lines }) => [name, ...lines.map((line) => `    ${line}`)].join("\n")).join("\n");
}
