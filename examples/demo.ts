/** The method on a small base: a character, then frozen; an outfit that learns against it. `--quick` only shows that everything runs. */
import * as d from "../mod.ts";

const quick = Deno.args.includes("--quick"), seed = 1;
const folder = d.outputFolder(quick ? "out/demo-quick" : "out/demo");
const { network1, network2, network2WithoutOrthogonality } = d.things;
const networks = { network1, network2, network2WithoutOrthogonality };
const training = { steps: quick ? 8 : 130, learningRate: 6e-3, schedule: "cosine", minSnrGamma: 0.3 } as const;
const network = { rank: 16, alpha: 16, seed, ...training };
const data = { resolution: 128, batchSize: quick ? 2 : 4, seed };
const character = "pixel art portrait of sks person, red clothes, {row} background";
const outfit = "pixel art portrait of a person, zkz clothes, {row} background";
const stack = "pixel art portrait of sks person, zkz clothes, {row} background";
const rows = ["white", "pink", "sky blue", "beige", "white", "pink"].map((text, i) => ({ text, seed: i + 1 }));

const recipe = d.pipeline("demo")
  .use(d.loadBases({ network1: "toy" }))
  .use(d.readDreambooth({ network1: { train: d.toy.character }, network2: { train: d.toy.outfit }, ...data }))
  // The outfit's own pictures already show all kinds of people: only the character needs others beside it.
  .use(d.loadPriors({ network1: d.toy.priors, weight: 0.5 }))
  .use(d.cacheLatents({ folder: "out/latents" }))
  .use(d.pretrainNetwork1(quick ? network : { ...network, steps: 200, learningRate: 7e-3 }))
  .use(d.freezeNetwork1({ mode: "full" }))
  .use(d.trainNetwork2({ ...network, orthogonality: { textEncoder: 1, unet: 1 } }))
  .use(d.trainNetwork2WithoutOrthogonality(network))
  .use(d.sample({
    ...{ networks, rows: quick ? rows.slice(0, 2) : rows, baselines: true },
    ...{ width: 128, height: 128, sampler: "ddim", steps: quick ? 3 : 20, guidance: 3 },
    columns: [
      { name: "base", prompt: stack, networks: [] },
      { name: "character alone", prompt: character, networks: ["network1"] },
      { name: "outfit alone", prompt: outfit, networks: ["network2"] },
      { name: "outfit alone, no loss", prompt: outfit, networks: ["network2WithoutOrthogonality"] },
      { name: "stack, no loss", prompt: stack, networks: ["network1", "network2WithoutOrthogonality"] },
      { name: "stack, orthogonality", prompt: stack, networks: ["network1", "network2"] },
    ],
  }))
  .use(d.measureRetention({
    regions: d.toy.regions,
    identity: ["character alone", "stack, no loss", "stack, orthogonality"],
    outfit: ["outfit alone", "outfit alone, no loss", "stack, no loss", "stack, orthogonality"],
  }))
  .use(d.saveNetworks({ folder, networks, names: { network2WithoutOrthogonality: "network2_without_orthogonality" } }))
  .use(d.writeReport({
    ...{ folder, networks, seed, settings: { ...network, ...data } },
    command: `deno task demo${quick ? " --quick" : ""}`,
    title: "A character in new clothes: two LoRAs, alone and stacked",
    columns: {
      ...{ base: "base", character: "character alone", outfit: "outfit alone", stack: "stack, orthogonality" },
      ...{ "outfit-without-orthogonality": "outfit alone, no loss", "stack-without-orthogonality": "stack, no loss" },
    },
    training: { network1: 1, network2: 2, network2WithoutOrthogonality: 2 },
    files: ["network1.safetensors", "network2.safetensors", "network2_without_orthogonality.safetensors"],
  }));

await d.runRecipe(recipe, { folder: `${folder}/run`, flags: { "--quick": "only show that everything runs" } });
