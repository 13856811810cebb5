/**
 * The run that is killed again and again: both networks, with all that a training leaves behind. Started in a folder with `one/` and `two/`, a few pictures
 * each, and `prompts.txt`. Every event is a line of JSON on stdout the moment it happens.
 *
 * @module
 */
import * as d from "../../mod.ts";

const { network1, network2 } = d.things, names = { network1: "mine", network2: "other" };

const recipe = d.pipeline("small run")
  .use(d.loadBases({ network1: "toy" }))
  .use(d.readDreambooth({ network1: { train: "one" }, network2: { train: "two" }, resolution: 64, batchSize: 1 }))
  .use(d.cacheLatents({ folder: "latents" }))
  .use(d.trainBoth({
    ...{ rank: 2, parts: ["unet"], steps: 8, learningRate: 1e-3, schedule: "cosine", warmupSteps: 2, seed: 5 },
    network2: { optimizer: "AdamW8bit", learningRate: 2e-3 },
    checkpointEvery: 2,
    save: { folder: "out", names, everySteps: 1, lastSteps: 1, everyEpochs: 2, lastEpochs: 1, state: true },
    logs: { folder: "logs" },
    samples: { folder: "out", names, prompts: "prompts.txt", everySteps: 4 },
  }))
  .use(d.saveNetworks({ folder: "out", networks: { network1, network2 }, names }));

const encoder = new TextEncoder();
const print = (event: d.RunEvent) => void Deno.stdout.writeSync(encoder.encode(`${JSON.stringify(event)}\n`));
await d.runRecipe({
  describe: () => recipe.describe(),
  run: (options) => recipe.run({ ...options, onEvent: print }),
}, { folder: "run", args: [] });
