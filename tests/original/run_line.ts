/**
 * Command lines run small, in this process: two pictures a network at 64 pixels, a few steps.
 *
 * @module
 */
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { type LoraFile, readLora } from "../../formats/lora_file.ts";
import * as d from "../../mod.ts";
import { planRecipe } from "../../cli/recipe/plan_recipe.ts";
import { recipeOf } from "../../cli/recipe/step_calls.ts";
import { checkStatus } from "../../cli/settings/settings.ts";
import { settingsOfLine } from "../cli/parse_line.ts";
import { copyPictures } from "../steps/small_training.ts";

/** What came of a command line. */
export interface LineResult {
  /** Where the files are. */
  readonly folder: string;
  /** The files' bytes, by their names without ending. */
  readonly files: Readonly<Record<string, Uint8Array>>;
  /** The same, read. */
  readonly loras: Readonly<Record<string, LoraFile>>;
  /** Each network as it was trained, with the figures of every step. */
  readonly networks: { readonly network1: d.Network; readonly network2?: d.Network };
  readonly events: readonly d.RunEvent[];
}

/** Two pictures for each network, in folders `one` and `two`, two of other people in `people`, a high and a wide one in `shapes`. */
export async function makeData(folder: string): Promise<void> {
  await copyPictures(d.toy.character, join(folder, "one"), 2);
  await copyPictures(d.toy.outfit, join(folder, "two"), 2);
  await copyPictures(d.toy.priors, join(folder, "people"), 2);
  const shapes = join(folder, "shapes", "1_sks person"), [subfolder] = await readdir(join(folder, "one"));
  await mkdir(shapes, { recursive: true });
  for (const [at, [width, height]] of [[40, 120], [120, 40]].entries()) {
    const [picture] = (await readdir(join(folder, "one", subfolder))).filter((name) => name.endsWith(".png"));
    await sharp(join(folder, "one", subfolder, picture)).resize(width, height, { fit: "fill" })
      .toFile(join(shapes, `${at}.png`));
  }
}

/** Flags of a small training of two networks on the data of {@linkcode makeData}. */
export function pairLine(folder: string): string[] {
  return [
    "--pretrained_model_name_or_path=toy",
    `--train_data_dir=${join(folder, "one")}`,
    `--train_data_dir_2=${join(folder, "two")}`,
    ...["--resolution=64", "--optimizer_type=AdamW", "--learning_rate=1e-2", "--network_dim=4", "--network_alpha=4"],
    ...["--max_train_steps=4", "--seed=1", "--caption_extension=.txt"],
    // The original's default is a folder where the command runs.
    `--logging_dir=${join(folder, "logs")}`,
  ];
}

const runs = new Map<string, Promise<LineResult>>();

/** Runs a command line to its end, as `train` does; files go into a new folder. A line that ran before gives what it gave. */
export function runLine(folder: string, line: readonly string[]): Promise<LineResult> {
  const key = JSON.stringify(line), found = runs.get(key) ?? run(join(folder, `run${runs.size}`), line);
  runs.set(key, found);
  return found;
}

async function run(output: string, line: readonly string[]): Promise<LineResult> {
  const settings = await settingsOfLine([...line, `--output_dir=${output}`]);
  checkStatus(settings);
  const plan = await planRecipe(settings), events: d.RunEvent[] = [];
  const recipe = recipeOf(plan) as unknown as d.Pipeline<Pick<typeof d.things, "network1" | "network2">>;
  const keep = settings.isPair ? ["network1", "network2"] as const : ["network1"] as const;
  const { values: networks } = await recipe.run<"network1" | "network2">({
    folder: plan.folder,
    onEvent: (event) => events.push(event),
    keep,
  });
  const files: Record<string, Uint8Array> = {}, loras: Record<string, LoraFile> = {};
  for (const event of events) {
    // What is saved in between has tests of its own.
    if (event.type !== "artifact" || event.step !== "save networks") continue;
    const name = event.path.slice(output.length + 1).replace(/\.safetensors$/, "");
    files[name] = await readFile(event.path);
    loras[name] = await readLora(event.path);
  }
  return { folder: output, files, loras, networks, events };
}
