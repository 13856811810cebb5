/** A step of one's own, as good as the built-in ones around it: samples the stack at strengths that differ from network to network. */
import * as d from "../mod.ts";

const quick = Deno.args.includes("--quick"), folder = d.outputFolder("out/own_step");
const { bases, network1, network2, samples } = d.things;

interface SampleStrengthsOptions extends d.PictureOptions {
  readonly prompt: string;
  readonly seeds: readonly number[];
  /** Columns by name, each with the strengths of network 1 and 2; 0 leaves one out. */
  readonly strengths: { readonly [column: string]: readonly [number, number] };
}

function sampleStrengths(options: SampleStrengthsOptions) {
  const { prompt, seeds, strengths } = options, total = Object.keys(strengths).length;
  return d.defineStep({
    name: "sample strengths",
    version: 1, // raised when the same options should make other pictures
    options,
    needs: { bases, network1, network2 },
    gives: { samples },
    plan: () => ({ figures: { pictures: total * seeds.length } }),
    run: async (given, run) => {
      using sampler = await d.PictureSampler.open(given.bases, options);
      const columns: d.SampleColumn[] = [];
      for (const [name, multipliers] of Object.entries(strengths)) {
        run.signal.throwIfAborted();
        const networks = (["network1", "network2"] as const).filter((_, i) => multipliers[i] !== 0);
        const stack = networks.map((each) => ({ network: given[each], multiplier: multipliers[+each.slice(-1) - 1] }));
        const pictures = await sampler.sample(stack, seeds.map((seed) => ({ prompt, seed })));
        columns.push({ name, prompt, networks, pictures });
        run.progress({ done: columns.length, total, unit: "columns", message: name });
      }
      return { samples: { columns } };
    },
    store: d.sampleStore,
  });
}

const prompt = "pixel art portrait of sks person, zkz clothes, white background", size = { width: 128, height: 128 };
const strengths = { base: [0, 0], "more outfit": [0.3, 1], "more character": [1, 0.3], both: [1, 1] } as const;
const names = Object.keys(strengths), networks = { network1, network2 }, data = { resolution: 128, batchSize: 2 };
const columns = { base: "base", outfit: "more outfit", character: "more character", stack: "both" };
const report = { folder, title: "One stack at three strengths", seed: 1 };

const recipe = d.pipeline("own step")
  .use(d.loadBases({ network1: "toy" }))
  .use(d.readDreambooth({ network1: { train: d.toy.character }, network2: { train: d.toy.outfit }, ...data }))
  .use(d.cacheLatents({ folder: "out/latents" }))
  .use(d.trainBoth({ steps: quick ? 4 : 250, rank: 16, learningRate: 3e-3 }))
  .use(sampleStrengths({ prompt, strengths, seeds: [1, 2, 3], ...size, steps: quick ? 2 : 20, guidance: 3 }))
  .use(d.measureRetention({ regions: d.toy.regions, identity: names, outfit: names }))
  .use(d.writeReport({ ...report, columns, networks, training: { network1: 1, network2: 2 } }));

await d.runRecipe(recipe, { folder: `${folder}/run`, flags: { "--quick": "only show that everything runs" } });
