/** A small recipe that the tests of this folder run: toy values in the places of ours. */
import { join } from "node:path";
import { defineStep, pipeline, type RunEvent, thing } from "../mod.ts";

/** Things that look like ours: bases with something to release, latents and a network that are kept on disk. */
export class Bases {
  released = 0;
  constructor(readonly factor: number) {}
  [Symbol.asyncDispose]() {
    this.released++;
    return Promise.resolve();
  }
}
export const bases = thing<Bases>();
export const latents = thing<number[]>();
export const network = thing<{ weights: number[] }>();

export interface World {
  folder: string;
  /** Names of the steps whose `run` was called. */
  ran: string[];
  events: RunEvent[];
  made: Bases[];
}

export async function inNewFolder(test: (world: World) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test({ folder, ran: [], events: [], made: [] });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

export interface Options {
  factor?: number;
  cut?: number;
  epochs?: number;
  model?: string;
}

export function steps(world: World, { factor = 2, cut = 100, epochs = 3, model = "v1" }: Options = {}) {
  const load = defineStep({
    name: "load bases",
    version: 1,
    options: { factor },
    gives: { bases },
    fingerprint: () => model,
    run() {
      world.ran.push("load");
      const loaded = new Bases(factor);
      world.made.push(loaded);
      return { bases: loaded };
    },
  });
  const cache = defineStep({
    name: "cache latents",
    version: 1,
    options: { cut },
    needs: { bases },
    gives: { latents },
    store: "json",
    run({ bases }) {
      world.ran.push("cache");
      return { latents: [1, 2, 3].map((x) => Math.min(cut, x * bases.factor)) };
    },
  });
  const train = defineStep({
    name: "train",
    version: 1,
    options: { epochs },
    needs: { bases, latents },
    gives: { network },
    store: "json",
    run({ bases, latents }, run) {
      world.ran.push("train");
      run.progress({ done: epochs, total: epochs, unit: "epochs" });
      run.figures({ loss: 0.5 });
      return { network: { weights: latents.map((x) => x * bases.factor + epochs) } };
    },
  });
  const report = defineStep({
    name: "report",
    version: 1,
    needs: { network },
    async run({ network }, run) {
      world.ran.push("report");
      await Deno.writeTextFile(join(world.folder, "report.txt"), network.weights.join());
      run.artifact(join(world.folder, "report.txt"));
    },
  });
  return { load, cache, train, report };
}

export function recipe(world: World, options: Options = {}) {
  const { load, cache, train, report } = steps(world, options);
  return pipeline("small").use(load).use(cache).use(train).use(report);
}

export async function run(world: World, options: Options = {}): Promise<string[]> {
  world.ran = [];
  world.events = [];
  await recipe(world, options).run({ folder: world.folder, onEvent: (event) => world.events.push(event) });
  return world.ran;
}

/** Events as `step: kind`. */
export const kinds = (world: World) =>
  world.events.map((event) => "step" in event ? `${event.step}: ${event.type.replace("step-", "")}` : event.type);
/** Why steps ran. */
export const reasons = (world: World) =>
  world.events.flatMap((event) => event.type === "step-started" ? [`${event.step}: ${event.because}`] : []);
