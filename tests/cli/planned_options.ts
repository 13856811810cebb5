import { deepEqual } from "node:assert/strict";
import { idleFlags } from "../../cli/recipe/idle_flags.ts";
import { planRecipe } from "../../cli/recipe/plan_recipe.ts";
import { recipeOf, type StepName } from "../../cli/recipe/step_calls.ts";
import { settingsOfLine } from "./parse_line.ts";

/** Two networks, with an optimizer that is there. */
export const pair = [
  ...["--pretrained_model_name_or_path=base", "--output_dir=out", "--output_name=name", "--optimizer_type=AdamW"],
  ...["--train_data_dir=one", "--train_data_dir_2=two"],
];

/** The options that a line gives a step; undefined where the recipe has no such step. Fails where a flag of the line decides nothing. */
export async function optionsOf(line: readonly string[], step: StepName): Promise<Record<string, unknown> | undefined> {
  const settings = await settingsOfLine(line), plan = await planRecipe(settings);
  // Each step takes what it is handed.
  recipeOf(plan);
  deepEqual(await idleFlags(settings), [], line.join(" "));
  return plan.calls.find(([name]) => name === step)?.[1] as Record<string, unknown> | undefined;
}
