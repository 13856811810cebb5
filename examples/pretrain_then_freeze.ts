/** The recommended way: a character learns alone and is frozen; then an outfit learns to stay out of its way. */
import * as d from "../mod.ts";

const quick = Deno.args.includes("--quick"), folder = d.outputFolder("out/pretrain_then_freeze");
const { network1, network2 } = d.things;
const training = { steps: quick ? 4 : 250, rank: 16, learningRate: 3e-3, schedule: "cosine", seed: 1 } as const;

const recipe = d.pipeline("pretrain, then freeze")
  .use(d.loadBases({ network1: "toy" }))
  .use(d.readDreambooth({
    network1: { train: d.toy.character },
    network2: { train: d.toy.outfit },
    resolution: quick ? 64 : 128,
    batchSize: quick ? 1 : 4,
  }))
  .use(d.loadPriors({ network1: d.toy.priors, network2: d.toy.priors }))
  .use(d.cacheLatents({ folder: "out/latents" }))
  .use(d.pretrainNetwork1(training))
  .use(d.freezeNetwork1({ mode: "full" }))
  .use(d.trainNetwork2({ ...training, orthogonality: { textEncoder: 1, unet: 1 } }))
  .use(d.saveNetworks({ folder, networks: { network1, network2 } }));

await d.runRecipe(recipe, { folder: `${folder}/run`, flags: { "--quick": "only show that everything runs" } });
