/**
 * Trains one step on the small base and says when, by the process's CPU time: what `start_up.ts` measures. Arguments: folder of the latents, run folder.
 *
 * @module
 */
import { cpuUsage } from "node:process";
import * as d from "../mod.ts";

const [latents, folder] = Deno.args, seed = 1;
const recipe = d.pipeline("start-up")
  .use(d.loadBases({ network1: "toy" }))
  .use(d.readDreambooth({
    ...{ network1: { train: d.toy.character }, network2: { train: d.toy.outfit } },
    ...{ resolution: 128, batchSize: 1, seed },
  }))
  .use(d.cacheLatents({ folder: latents }))
  .use(d.trainBoth({ rank: 16, steps: 1, learningRate: 1e-4, seed }));

await recipe.run({
  folder,
  onEvent: (event) => {
    // The first figures are those of the first step, read back from the device.
    if (event.type !== "figures") return;
    const { user, system } = cpuUsage();
    console.log(JSON.stringify({ firstStepCpuMs: (user + system) / 1000 }));
  },
});
