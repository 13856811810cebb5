import { idleFlags, idleNotes } from "../recipe/idle_flags.ts";
import { planRecipe } from "../recipe/plan_recipe.ts";
import { recipeOf } from "../recipe/step_calls.ts";
import { asUsageError } from "../recipe/step_errors.ts";
import { checkStatus, type Settings, settingsOf } from "../settings/settings.ts";
import { UsageError } from "../usage_error.ts";
import type { SweepRun } from "./expand_sweep.ts";
import { runFolder } from "./sweep_folder.ts";

/** Most lines of an error. */
const mostProblems = 10;

/**
 * Plans runs as `train` would, without a GPU: all that they read is looked at.
 *
 * @param folder The sweep's.
 * @returns Notes on flags, each with the number of runs that it is about.
 * @throws {UsageError} With file, line and run of what is wrong, in all runs.
 */
export async function checkRuns(folder: string, runs: readonly SweepRun[]): Promise<string[]> {
  const notes = new Map<string, number>(), problems = new Map<string, string[]>();
  for (const run of runs) {
    const given = [...run.values].map(([flag, { value }]) => [flag, value] as const);
    const settings = settingsOf(new Map([...given, ["output_dir", runFolder(folder, run.name)]]));
    try {
      for (const note of await checkRun(settings)) notes.set(note, (notes.get(note) ?? 0) + 1);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      const { message } = error instanceof UsageError ? error : await asUsageError(
        error,
        settings.values,
        async (values) => await recipeOf(await planRecipe({ ...settings, values })).describe(),
      );
      const [, flag = ""] = /^--(\w+)/.exec(message) ?? [];
      const problem = `${(run.values.get(flag) ?? run).place}: ${
        message.replaceAll(runFolder(folder, run.name), folder)
      }`;
      problems.set(problem, [...problems.get(problem) ?? [], run.name]);
    }
  }
  if (problems.size > 0) {
    const lines = [...problems].map(([problem, names]) =>
      `${problem} (run ${names[0]}${names.length > 1 ? ` and ${names.length - 1} more` : ""})`
    );
    const more = lines.length > mostProblems ? [`and ${lines.length - mostProblems} more`] : [];
    throw new UsageError([...lines.slice(0, mostProblems), ...more].join("\n"));
  }
  return [...notes].map(([note, count]) => count === runs.length ? note : `${note} (${count} of ${runs.length} runs)`);
}

async function checkRun(settings: Settings): Promise<string[]> {
  const meanings = checkStatus(settings);
  await recipeOf(await planRecipe(settings)).describe();
  return [...meanings, ...idleNotes(settings, await idleFlags(settings))];
}
