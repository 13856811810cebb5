import { deepEqual, equal, ok } from "node:assert/strict";
import { existsSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import * as d from "../../mod.ts";
import { controlName, type JournalLine, journalName } from "../../pipeline/mod.ts";
import { readState } from "../../steps/outputs/state_folder.ts";
import { startScript } from "../examples/run_example.ts";
import { inNewFolder, keptNetwork, runRecorded, smallData } from "./small_training.ts";

/** A recipe of a training of 6 steps, as the script below has it. */
export async function recipe(folder: string) {
  return d.pipeline("small")
    .use(d.loadBases({ network1: "toy" }))
    .use(d.readDreambooth({ ...await smallData(join(folder, "data")), resolution: 64, batchSize: 1, seed: 3 }))
    .use(d.cacheLatents({ folder: join(folder, "latents") }))
    .use(d.trainBoth({
      ...{ rank: 2, steps: 6, learningRate: 1e-3, seed: 3 },
      save: { folder: join(folder, "saved"), names: { network1: "mine" } },
    }));
}

const script = (folder: string) => `
import { recipe } from ${JSON.stringify(import.meta.url)};
await (await recipe(${JSON.stringify(folder)})).run({ folder: ${JSON.stringify(join(folder, "run"))} });
`;

/** The lines of a run's journal. */
async function journal(runFolder: string): Promise<JournalLine[]> {
  const text = await readFile(join(runFolder, journalName), "utf8").catch(() => "");
  return text.slice(0, text.lastIndexOf("\n") + 1).split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

async function lineOf<Type extends JournalLine["type"]>(
  runFolder: string,
  type: Type,
  fits: (line: Extract<JournalLine, { type: Type }>) => boolean = () => true,
): Promise<Extract<JournalLine, { type: Type }>> {
  for (;; await delay(20)) {
    const found = (await journal(runFolder)).find((line) => line.type === type && fits(line as never));
    if (found) return found as never;
  }
}

Deno.test("a training that is asked to save writes its files, and one that is killed while paused ends as if it had never stopped", () =>
  inNewFolder(async (folder) => {
    const one = join(folder, "one"), two = join(folder, "two"), run = join(two, "run"), path = join(folder, "run.ts");
    equal((await runRecorded(await recipe(one), { folder: join(one, "run") })).error, null);
    await writeFile(path, script(two));
    const child = startScript(path, folder), output = child.output();
    const { id } = await lineOf(run, "run-started");
    // While it compiles: the wish to save is then followed behind the first step, the pause behind the second.
    await lineOf(run, "step-started", ({ step }) => step === "train both networks");
    for (const wish of ["save", "pause"]) {
      await writeFile(join(run, controlName), JSON.stringify({ run: id, wish }));
      while (existsSync(join(run, controlName))) await delay(20);
    }
    const saved = await lineOf(run, "saved");
    const names = ["mine-step00000001.safetensors", "mine_2-step00000001.safetensors", "mine-step00000001-state"];
    deepEqual(saved.paths, names.map((name) => join(two, "saved", name)));
    deepEqual((await readdir(join(two, "saved"))).filter((name) => !name.startsWith(".")).sort(), names.toSorted());
    equal((await readState(saved.paths[2])).content.state.step, 1);
    await lineOf(run, "paused");
    child.kill("SIGKILL");
    await output;
    const again = await runRecorded(await recipe(two), { folder: run });
    equal(again.error, null);
    // Those of the steps before the kill as well, from the checkpoint.
    deepEqual(again.events.flatMap((event) => event.type === "figures" ? [event.figures.step] : []), [
      1,
      2,
      3,
      4,
      5,
      6,
    ]);
    ok(again.events.some((event) => event.type === "step-started" && event.resumes));
    for (const name of ["network1", "network2"]) {
      const [a, b] = await Promise.all(
        [one, two].map((each) => keptNetwork(join(each, "run"), "train-both-networks", name)),
      );
      deepEqual(a.weights, b.weights);
      deepEqual(a.log, b.log);
    }
  }));
