/**
 * A training to watch: `training.ts <folder> <name> <steps>`. Its run, files and pictures go into `<folder>/<name>`.
 *
 * @module
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as d from "../../mod.ts";
import { smallData } from "../steps/small_training.ts";

const [folder, name, steps] = Deno.args, own = join(folder, name), prompts = join(own, "prompts.txt");
await mkdir(own, { recursive: true });
await writeFile(prompts, 'a sks person & <b>"bold"</b> --w 64 --h 64 --s 2 --d 7\n');
const recipe = d.pipeline("watched")
  .use(d.loadBases({ network1: "toy" }))
  .use(d.readDreambooth({ ...await smallData(join(own, "data")), resolution: 64, batchSize: 1, seed: 3 }))
  .use(d.cacheLatents({ folder: join(own, "latents") }))
  .use(d.trainBoth({
    ...{ rank: 2, steps: Number(steps), learningRate: 1e-3, seed: 3, schedule: "cosine" },
    save: { folder: join(own, "saved"), names: { network1: "mine" } },
    samples: { folder: own, prompts, everySteps: 30, names: { network1: "mine" } },
  }));
await d.runRecipe(recipe, { folder: join(own, "run"), args: [] });
