import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { readPlainText, SpecialFileError } from "../formats/plain_file.ts";
import { RunStory } from "./run_view.ts";

/** What is known of a run folder without a journal: its finished steps, and the figures that its networks keep. */
export async function readPastRun(folder: string): Promise<RunStory> {
  const story = new RunStory(), steps: { name: string; seconds: number; time: number; path: string }[] = [];
  for (const entry of (await namesIn(join(folder, "steps"))).sort()) {
    const path = join(folder, "steps", entry), manifest = await readJson(join(path, "manifest.json"));
    if (!manifest) continue;
    const { inputs, seconds } = manifest as { inputs: { step: string }; seconds: number };
    steps.push({ name: inputs.step, seconds, path, time: (await stat(join(path, "manifest.json"))).mtimeMs / 1000 });
  }
  if (steps.length === 0) return story;
  const time = steps[0].time, names = steps.map(({ name }) => name);
  story.add({ time, type: "run-started", id: "", recipe: basename(folder), folder, steps: names });
  // A network that goes on, or is frozen, brings the figures of earlier steps along.
  const known = new Map<string, number>();
  for (const [index, { name, seconds, path, time }] of steps.entries()) {
    const at = { step: name, index, time };
    for (const network of await namesIn(join(path, "product"))) {
      const found = await readJson(join(path, "product", network, "network.json"));
      const log = (found as { log?: Logged[] } | null)?.log ?? [];
      const own = log.slice(known.get(network) ?? 0);
      known.set(network, log.length);
      for (const { step, epoch, values } of own) {
        story.add({ ...at, type: "figures", figures: { step: step + 1, epoch: epoch + 1, ...values } });
      }
    }
    story.add({ ...at, type: "step-finished", seconds });
  }
  return story;
}

interface Logged {
  readonly step: number;
  readonly epoch: number;
  readonly values: Readonly<Record<string, number>>;
}

/** A file of JSON; null where there is none, or it is no JSON. */
export async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readPlainText(path));
  } catch (error) {
    if (error instanceof SyntaxError || isOutOfReach(error)) return null;
    throw error;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch((error) => {
    if (isOutOfReach(error)) return [];
    throw error;
  });
}

/** Whether an error says that a file or folder is not there, not for us to read, or another kind of thing. */
export function isOutOfReach(error: unknown): boolean {
  return error instanceof SpecialFileError ||
    ["ENOENT", "ENOTDIR", "EISDIR", "EACCES"].includes((error as NodeJS.ErrnoException).code ?? "");
}
