/**
 * Describes a training on the data in a folder, or starts it until the first picture is to be encoded, and says by its CPU time when that was: what
 * `large_data.ts` measures. Arguments: `describe` or `run`, the folder.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { cpuUsage } from "node:process";
import * as d from "../mod.ts";

const [mode, folder] = Deno.args, pictures = join(folder, "pictures"), metadataFile = join(folder, "metadata.json");
const subset = existsSync(metadataFile) ? { imageDir: pictures, metadataFile } : { imageDir: pictures };
const recipe = d.pipeline("large data")
  .use(d.loadBases({ network1: "toy" }))
  .use(d.readDatasets({ network1: [{ resolution: 64, batchSize: 1, subsets: [subset] }] }))
  .use(d.cacheLatents({ folder: join(folder, "latents") }))
  .use(d.pretrainNetwork1({ rank: 4, steps: 1, learningRate: 1e-4, seed: 1 }));

function say(): void {
  const { user, system } = cpuUsage();
  console.log(JSON.stringify({ cpuMs: (user + system) / 1000 }));
}

if (mode === "describe") {
  await recipe.describe();
  say();
} else {
  const stop = new AbortController();
  try {
    await recipe.run({
      folder: join(folder, "run"),
      signal: stop.signal,
      onEvent: (event) => {
        if (event.type !== "step-started" || event.step !== "cache latents") return;
        say();
        stop.abort();
      },
    });
  } catch (error) {
    if (!(error instanceof d.InterruptedError)) throw error;
  }
}
