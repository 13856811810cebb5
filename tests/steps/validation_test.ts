import { deepEqual, equal } from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import * as d from "../../mod.ts";
import { copyPictures, inNewFolder, keptNetwork, runRecorded } from "./small_training.ts";

/** Steps, from 0, whose figures have losses of held-out pictures, with the names of these. */
function validated({ log }: d.Network): Record<number, string[]> {
  return Object.fromEntries(log.flatMap(({ step, values }) => {
    const names = Object.keys(values).filter((name) => name.startsWith("validation")).sort();
    return names.length ? [[step, names]] : [];
  }));
}

Deno.test("held-out pictures are measured after epochs, at steps and at the end, and the training stays the same", () =>
  inNewFolder(async (folder) => {
    const dataset = async (from: string, to: string) => {
      const copied = await copyPictures(from, join(folder, to), 4), [subfolder] = await readdir(copied);
      return [{ resolution: 64, subsets: [{ imageDir: join(copied, subfolder), captionExtension: ".txt" }] }];
    };
    const [character, outfit] = [await dataset(d.toy.character, "character"), await dataset(d.toy.outfit, "outfit")];
    // Of four pictures one is held out: an epoch is three steps.
    const train = async (name: string, options: Partial<d.TrainBothOptions>) => {
      const recipe = d.pipeline("validated")
        .use(d.loadBases({ network1: "toy" }))
        .use(d.readDatasets({ network1: character, network2: outfit, validationSplit: 0.25 }))
        .use(d.cacheLatents())
        .use(d.trainBoth({ rank: 2, steps: 5, learningRate: 1e-3, ...options }));
      const run = { folder: join(folder, name) };
      equal((await runRecorded(recipe, run)).error, null);
      return [
        await keptNetwork(run.folder, "train-both-networks", "network1"),
        await keptNetwork(run.folder, "train-both-networks", "network2"),
      ];
    };
    const often = await train("often", { validateEverySteps: 2 });
    const rarely = await train("rarely", { validateEveryEpochs: 2 });
    for (
      const [k, names] of [["validation_1", "validation_stack_1"], ["validation_2", "validation_stack_2"]].entries()
    ) {
      deepEqual(validated(often[k]), { 1: names, 2: names, 3: names, 4: names });
      deepEqual(validated(rarely[k]), { 4: names });
      deepEqual(often[k].weights, rarely[k].weights);
      const [a, b] = [often[k].log[4].values, rarely[k].log[4].values];
      deepEqual(a, b);
    }
  }));
