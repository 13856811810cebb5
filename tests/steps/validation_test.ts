import { deepEqual, equal, match } from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import * as d from "../../mod.ts";
import { copyPictures, inNewFolder, keptNetwork, runRecorded } from "./small_training.ts";

/** Trains both networks of the toy for five steps; of four pictures each one is held out, so an epoch is three steps. */
async function train(folder: string, options: Partial<d.TrainBothOptions>) {
  const dataset = async (from: string, to: string) => {
    const copied = await copyPictures(from, join(folder, to), 4), [subfolder] = await readdir(copied);
    return [{ resolution: 64, subsets: [{ imageDir: join(copied, subfolder), captionExtension: ".txt" }] }];
  };
  const recipe = d.pipeline("validated")
    .use(d.loadBases({ network1: "toy" }))
    .use(d.readDatasets({
      network1: await dataset(d.toy.character, "character"),
      network2: await dataset(d.toy.outfit, "outfit"),
      validationSplit: 0.25,
    }))
    .use(d.cacheLatents())
    .use(d.trainBoth({ rank: 2, steps: 5, learningRate: 1e-3, ...options }));
  const runFolder = join(folder, "run"), { error, events } = await runRecorded(recipe, { folder: runFolder });
  equal(error, null);
  const networks = await Promise.all(
    ["network1", "network2"].map((name) => keptNetwork(runFolder, "train-both-networks", name)),
  );
  return {
    networks,
    progress: events.filter((event) => event.type === "progress"),
  };
}

/** Steps, from 0, whose figures have losses of held-out pictures, with the names of these. */
function validated({ log }: d.Network): Record<number, string[]> {
  return Object.fromEntries(log.flatMap(({ step, values }) => {
    const names = Object.keys(values).filter((name) => name.startsWith("validation")).sort();
    return names.length ? [[step, names]] : [];
  }));
}

Deno.test("held-out pictures are measured after epochs, at steps and at the end, and the training stays the same", () =>
  inNewFolder(async (folder) => {
    const often = await train(join(folder, "often"), { validateEverySteps: 2 });
    const rarely = await train(join(folder, "rarely"), { validateEveryEpochs: 2 });
    for (
      const [k, names] of [["validation_1", "validation_stack_1"], ["validation_2", "validation_stack_2"]].entries()
    ) {
      const [a, b] = [often.networks[k], rarely.networks[k]];
      deepEqual(validated(a), { 1: names, 2: names, 3: names, 4: names });
      deepEqual(validated(b), { 4: names });
      deepEqual(a.weights, b.weights);
      deepEqual(a.log[4], b.log[4]);
    }
    const { message = "", lines = [] } = rarely.progress.at(-1)!;
    match(message, /^orth_te \d\.\de[+-]\d+, orth_unet \d\.\de[+-]\d+$/);
    equal(lines.length, 2);
    for (const [k, line] of lines.entries()) {
      match(line, new RegExp(`^network ${k + 1}: loss 0\\.\\d{4}, held-out loss 0\\.\\d{4}$`));
    }
  }));

Deno.test("held-out pictures are measured behind a skipped step too, and a loss that is not finite is left out", () =>
  inNewFolder(async (folder) => {
    // The first step makes weights so large that all later ones are skipped, and no loss is finite.
    const { networks: [lost] } = await train(folder, { learningRate: 1e30, maxSkippedInRow: 9 });
    deepEqual([lost.log.map(({ step }) => step), validated(lost)], [[0], {}]);
  }));
