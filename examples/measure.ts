/** How two LoRAs get into each other's way: by their weights, in their base, and in pictures. These are what `both_at_once` made; put two files of yours in their place. */
import * as d from "../mod.ts";

const quick = Deno.args.includes("--quick"), folder = d.outputFolder("out/measure"), size = quick ? 64 : 128;
const files = ["out/both_at_once/network1.safetensors", "out/both_at_once/network2.safetensors"] as const;
const { network1, network2, samples, retention } = d.things, networks = { network1, network2 };
const stack = "pixel art portrait of sks person, zkz clothes, {row} background";
const rows = ["white", "pink", "sky blue", "beige"].slice(0, quick ? 2 : 4).map((text, i) => ({ text, seed: i + 1 }));

const recipe = d.pipeline("measure")
  .use(d.loadBases({ network1: "toy" }))
  .use(d.loadNetwork1({ weights: files[0] }))
  .use(d.loadNetwork2({ weights: files[1] }))
  .use(d.sample({
    ...{ networks, rows, baselines: true, width: size, height: size, steps: quick ? 1 : 20, guidance: 3 },
    columns: [
      { name: "base", prompt: stack, networks: [] },
      { name: "character", prompt: stack, networks: ["network1"] },
      { name: "outfit", prompt: stack, networks: ["network2"] },
      { name: "stack", prompt: stack, networks: ["network1", "network2"] },
    ],
  }))
  // With pictures of both concepts at hand, `probesFromData` takes the place of this step.
  .use(d.probesFromSamples({ network1: "character", network2: "outfit" }))
  .use(d.measureInterference({ prompts: rows.map(({ text }) => stack.replace("{row}", text)) }))
  .use(d.measureRetention({
    ...{ regions: d.toy.regions, identity: ["character", "stack"], outfit: ["outfit", "stack"] },
  }))
  .use(d.writeInterferenceReport({
    ...{ folder, files, base: "toy", shown: { samples, retention } },
    columns: ["base", "character", "outfit", "stack"],
  }));

await d.runRecipe(recipe, { folder: `${folder}/run`, flags: { "--quick": "only show that everything runs" } });
