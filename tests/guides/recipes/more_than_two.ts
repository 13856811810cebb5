import * as d from "../../../mod.ts";

for (const [orthonormalPlace, name] of ["character", "outfit", "style"].entries()) {
  const recipe = d.pipeline(name)
    .use(d.loadBases({ network1: "models/sd15.safetensors" }))
    .use(d.readDreambooth({ network1: { train: `data/${name}` }, resolution: 512, batchSize: 1 }))
    .use(d.cacheLatents({ folder: "out/latents" }))
    .use(d.pretrainNetwork1({ steps: 1500, rank: 8, alpha: 8, learningRate: 1e-4, orthonormalPlace }))
    .use(d.saveNetworks({ folder: `out/${name}`, networks: { network1: d.things.network1 } }));
  await d.runRecipe(recipe, { folder: `out/${name}/run` });
}
