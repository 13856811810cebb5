/**
 * Trains in `disk` until that is full, and again when there is room; then in another folder without a stop. Prints what came of it as JSON.
 *
 * @module
 */
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import * as d from "../../mod.ts";
import { runRecorded, smallData } from "../steps/small_training.ts";
import { checkPublished } from "../torture/published.ts";
import { fill } from "./fill.ts";

const data = await smallData("data");

/** @param folder Of all that the run writes. */
function recipe(folder: string) {
  return d.pipeline("filling")
    .use(d.loadBases({ network1: "toy" }))
    .use(d.readDreambooth({ ...data, resolution: 64, batchSize: 1 }))
    .use(d.cacheLatents({ folder: join(folder, "latents") }))
    .use(d.trainBoth({
      ...{ rank: 8, parts: ["unet"], steps: 5, learningRate: 1e-3, checkpointEvery: 1 },
      save: { folder: join(folder, "out"), everySteps: 1, lastSteps: 1, state: true },
      logs: { folder: join(folder, "logs") },
    }));
}

// As another program would, while the run is at work.
const onEvent = (event: d.RunEvent) => {
  if (event.type === "progress" && event.unit === "steps" && event.done === 3) fill("disk", 100_000);
};
const full = await runRecorded(recipe("disk"), { folder: join("disk", "run"), onEvent });
await checkPublished("disk");
await rm(join("disk", "filler"));
const again = await runRecorded(recipe("disk"), { folder: join("disk", "run") });
await checkPublished("disk");
await mkdir("whole");
const whole = await runRecorded(recipe("whole"), { folder: join("whole", "run") });
if (again.error ?? whole.error) throw again.error ?? whole.error;
const states = await Promise.all(
  ["disk", "whole"].map((folder) => readFile(join(folder, "out", "last-state", "state.safetensors"))),
);
const steps = again.events.flatMap((event) => event.type === "progress" && event.unit === "steps" ? [event.done] : []);
console.log(JSON.stringify({
  name: full.error?.name,
  message: full.error?.message,
  firstStep: steps[0],
  isSame: states[0].equals(states[1]),
}));
