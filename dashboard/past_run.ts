import { lstat, readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { isMissing, readPlainText, SpecialFileError } from "../formats/plain_file.ts";
import { LogHistory } from "../steps/outputs/figures_log.ts";
import { isLog } from "../steps/outputs/state_manifest.ts";
import { RunStory } from "./run_view.ts";

/** What is known of a run folder without a journal: its finished steps, and the figures that its networks keep. */
export async function readPastRun(folder: string): Promise<RunStory> {
  const story = new RunStory(), steps: { name: string; seconds: number; time: number; path: string }[] = [];
  for (const entry of (await foldersIn(join(folder, "steps"))).sort()) {
    const path = join(folder, "steps", entry), manifest = await readJson(join(path, "manifest.json"));
    const { inputs, seconds } = Object(manifest);
    // Written by another version, or by somebody else.
    if (typeof inputs?.step !== "string" || typeof seconds !== "number") continue;
    steps.push({ name: inputs.step, seconds, path, time: (await stat(join(path, "manifest.json"))).mtimeMs / 1000 });
  }
  if (steps.length === 0) return story;
  const time = steps[0].time, names = steps.map(({ name }) => name);
  story.add({ time, type: "run-started", id: "", recipe: basename(folder), folder, steps: names });
  const history = new LogHistory();
  for (const [index, { name, seconds, path, time }] of steps.entries()) {
    const at = { step: name, index, time };
    for (const network of await productFolders(path)) {
      const found = await readJson(join(path, "product", network, "network.json"));
      const log = Object(found).log;
      if (!isLog(log)) continue;
      for (const { step, epoch, values } of history.gained(log)) {
        story.add({ ...at, type: "figures", figures: { step: step + 1, epoch: epoch + 1, ...values } });
      }
    }
    story.add({ ...at, type: "step-finished", seconds });
  }
  return story;
}

/** A file of JSON; null where there is none, it is no JSON, or a link: that could lead anywhere. */
export async function readJson(path: string): Promise<unknown> {
  try {
    if ((await lstat(path)).isSymbolicLink()) return null;
    return JSON.parse(await readPlainText(path));
  } catch (error) {
    if (error instanceof SyntaxError || isOutOfReach(error)) return null;
    throw error;
  }
}

/** Folders of a step's product. */
async function productFolders(step: string): Promise<string[]> {
  return (await foldersIn(step)).includes("product") ? await foldersIn(join(step, "product")) : [];
}

/** Folders in a folder; links to some are none. */
async function foldersIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error) => {
    if (isOutOfReach(error)) return [];
    throw error;
  });
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

/** Whether an error says that a file or folder is not there, not for us to read, or another kind of thing. */
export function isOutOfReach(error: unknown): boolean {
  const found = error as NodeJS.ErrnoException;
  return error instanceof SpecialFileError || isMissing(found) || ["EISDIR", "EACCES"].includes(found.code ?? "");
}
