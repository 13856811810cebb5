/**
 * The runs that are killed again and again, with all that trainings leave behind. Argument: the variant. Started in a folder with `one/` and `two/`, a few
 * pictures each, and `prompts.txt`; `resumed` also needs a state of `both`, which it removes on its way. Every event is a line of JSON on stdout the moment it happens.
 *
 * @module
 */
import * as d from "../../mod.ts";

/** Both networks at once, the same from a state on, or one network behind the other. */
export type Variant = "both" | "resumed" | "chain";

const { network1, network2 } = d.things, names = { network1: "mine", network2: "other" };

/** Every step saves, and old files, states and checkpoints are removed. */
const saving = { folder: "out", everySteps: 1, lastSteps: 1, everyEpochs: 2, lastEpochs: 1, state: true };

/** UNets alone, 8 steps in 4 epochs, with pictures in between. */
function both(resume: { resume?: string }) {
  return d.pipeline("small run")
    .use(d.loadBases({ network1: "toy" }))
    .use(d.readDreambooth({ network1: { train: "one" }, network2: { train: "two" }, resolution: 64, batchSize: 1 }))
    .use(d.cacheLatents({ folder: "latents" }))
    .use(d.trainBoth({
      ...{ rank: 2, parts: ["unet"], steps: 8, learningRate: 1e-3, schedule: "cosine", warmupSteps: 2, seed: 5 },
      network2: { optimizer: "AdamW8bit", learningRate: 2e-3 },
      checkpointEvery: 2,
      save: { ...saving, names },
      logs: { folder: "logs" },
      samples: { folder: "out", names, prompts: "prompts.txt", everySteps: 4 },
      ...resume,
    }))
    .use(d.saveNetworks({ folder: "out", networks: { network1, network2 }, names }));
}

/** Text encoders and UNets: network 1 in 3 steps, then network 2 against it in 3 steps, each with a picture that is held out. */
function chain() {
  const training = { rank: 2, learningRate: 1e-3, steps: 3, seed: 5, validateEverySteps: 2, checkpointEvery: 2 };
  const data = (folder: string) => [{ trainDataDir: folder, resolution: 64, batchSize: 1 }];
  const { state: _, ...files } = saving;
  return d.pipeline("small chain")
    .use(d.loadBases({ network1: "toy" }))
    .use(d.readDatasets({ network1: data("one"), network2: data("two"), validationSplit: 0.5 }))
    .use(d.cacheLatents({ folder: "latents" }))
    .use(d.pretrainNetwork1({
      ...training,
      save: { ...files, names: { network1: "first" } },
      logs: { folder: "logs_first" },
    }))
    .use(d.freezeNetwork1({ mode: "full" }))
    .use(d.trainNetwork2({ ...training, optimizer: "Lion", save: { ...saving, names }, logs: { folder: "logs" } }))
    .use(d.saveNetworks({ folder: "out", networks: { network1, network2 }, names }));
}

const encoder = new TextEncoder();
const print = (event: d.RunEvent) => void Deno.stdout.writeSync(encoder.encode(`${JSON.stringify(event)}\n`));
const recipes: Record<Variant, () => Parameters<typeof d.runRecipe>[0]> = {
  both: () => both({}),
  resumed: () => both({ resume: "out/mine-step00000004-state" }),
  chain,
};
const recipe = recipes[Deno.args[0] as Variant]();
await d.runRecipe({
  describe: () => recipe.describe(),
  run: (options) => recipe.run({ ...options, onEvent: print }),
}, { folder: "run", args: [] });
