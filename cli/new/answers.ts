import { dirname, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { flagsByName } from "../flags/table.ts";
import { planRecipe } from "../recipe/plan_recipe.ts";
import { commandText, recipeScript } from "../recipe/recipe_script.ts";
import { argparseWords } from "../settings/argparse_words.ts";
import { changedValues, readSettings } from "../settings/settings.ts";
import { writeSettingsFile } from "../settings/settings_file.ts";
import { makeTrainCommand } from "../settings/train_command.ts";
import { writeForUser } from "../write_for_user.ts";

/** What somebody answered to the questions of `new`. */
export interface Answers {
  /** Base model, as `--pretrained_model_name_or_path` has it. */
  readonly base: string;
  /** Folder of network 1's pictures. */
  readonly pictures: string;
  /** Folder of network 2's pictures; none trains one network alone. */
  readonly pictures2?: string;
  /** Whether network 1 is trained first and then frozen, or beside network 2. */
  readonly order?: "first" | "together";
  /** Ending of caption files. */
  readonly captions: string;
  /** Size in pixels. */
  readonly resolution: number;
  readonly steps: number;
  readonly rank: number;
  /** Folder of the LoRA files. */
  readonly output: string;
  /** Name of network 1's file. */
  readonly name: string;
  /** What is written: a TypeScript recipe, or a settings file for `train`. */
  readonly kind: "recipe" | "settings";
  /** Path of what is written. */
  readonly path: string;
}

/** The command line that the answers stand for. What is not asked is what people start with: AdamW at 1e-4, a cosine. */
function wordsOf(answers: Answers): string[] {
  const { pictures2 } = answers;
  return [
    `--pretrained_model_name_or_path=${answers.base}`,
    `--train_data_dir=${answers.pictures}`,
    ...pictures2 === undefined ? [] : [`--train_data_dir_2=${pictures2}`],
    ...answers.order === "first" ? ["--freeze_network_1"] : [],
    `--caption_extension=${answers.captions}`,
    `--resolution=${answers.resolution}`,
    `--network_dim=${answers.rank}`,
    `--network_alpha=${answers.rank}`,
    `--max_train_steps=${answers.steps}`,
    "--optimizer_type=AdamW",
    "--learning_rate=1e-4",
    "--lr_scheduler=cosine",
    `--output_dir=${answers.output}`,
    `--output_name=${answers.name}`,
  ];
}

/**
 * Writes what the answers stand for.
 *
 * @returns The command that runs it.
 * @throws {UsageError} If there is a file already, or no folder for it.
 */
export async function writeAnswers(answers: Answers): Promise<string> {
  const words = wordsOf(answers), command = makeTrainCommand();
  command.parse(argparseWords(words, flagsByName), { from: "user" });
  const settings = await readSettings(command), { path } = answers;
  if (answers.kind === "settings") {
    await writeSettingsFile(path, changedValues(settings));
    return `deno task train --config_file=${path}`;
  }
  const door = relative(dirname(path), fileURLToPath(new URL("../../mod.ts", import.meta.url))).replaceAll("\\", "/");
  const place = { door: door.startsWith(".") ? door : `./${door}` };
  const script = recipeScript(await planRecipe(settings), commandText(words), place);
  await writeForUser(path, "the recipe", script);
  return `deno run -A tools/launch.ts ${path}`;
}
