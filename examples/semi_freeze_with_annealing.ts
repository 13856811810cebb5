/**
 * Network 1 is frozen for the first epochs only, then learns along. Orthogonality is off at first, so that network 2 learns what the outfit is; it comes
 * on after `halfAnnealEpoch` and stays on from `annealEpoch`, when network 1 thaws and both keep apart.
 */
import * as d from "../mod.ts";

const quick = Deno.args.includes("--quick"), folder = d.outputFolder("out/semi_freeze_with_annealing");
const { network1, network2 } = d.things;
const training = { rank: 16, learningRate: 3e-3, seed: 1 };

const recipe = d.pipeline("semi-freeze with annealing")
  .use(d.loadBases({ network1: "toy" }))
  .use(d.readDreambooth({
    network1: { train: d.toy.character },
    network2: { train: d.toy.outfit },
    resolution: quick ? 64 : 128,
    batchSize: quick ? 1 : 4, // 12 pictures shown 10 times each: 30 steps an epoch
  }))
  .use(d.cacheLatents({ folder: "out/latents" }))
  .use(d.pretrainNetwork1({ ...training, steps: quick ? 4 : 250 }))
  .use(d.freezeNetwork1({ mode: "semi", annealEpoch: 6, halfAnnealEpoch: 2 }))
  .use(d.trainNetwork2({ ...training, steps: quick ? 4 : 300, orthogonality: { textEncoder: 1, unet: 1 } }))
  .use(d.saveNetworks({ folder, networks: { network1, network2 } }));

await d.runRecipe(recipe, { folder: `${folder}/run`, flags: { "--quick": "only show that everything runs" } });
