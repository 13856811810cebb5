/** Both networks learn side by side from the first step, without pretraining: the same timesteps, batches of their own size. */
import * as d from "../mod.ts";

const quick = Deno.args.includes("--quick"), folder = d.outputFolder("out/both_at_once");
const { network1, network2 } = d.things;

const recipe = d.pipeline("both at once")
  .use(d.loadBases({ network1: "toy" }))
  .use(d.readDreambooth({
    network1: { train: d.toy.character },
    network2: { train: d.toy.outfit },
    resolution: quick ? 64 : 128,
    batchSize: quick ? 1 : 4,
    batchSize2: 2,
  }))
  .use(d.cacheLatents({ folder: "out/latents" }))
  .use(d.trainBoth({
    steps: quick ? 4 : 250,
    rank: 16,
    alpha: 8,
    learningRate: 3e-3,
    orthogonality: { textEncoder: 1, unet: 0.5 },
  }))
  .use(d.saveNetworks({ folder, networks: { network1, network2 }, precision: "fp16" }));

await d.runRecipe(recipe, { folder: `${folder}/run`, flags: { "--quick": "only show that everything runs" } });
