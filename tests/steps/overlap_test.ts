import { deepEqual, equal } from "node:assert/strict";
import { join } from "node:path";
import { Recorder } from "../../engine/mod.ts";
import * as d from "../../mod.ts";
import type { LatentProvider } from "../../steps/values/latents.ts";
import { Trainer } from "../../training/trainer.ts";
import { inNewFolder, runRecorded, smallData } from "./small_training.ts";

const steps = 20, { latents } = d.things;

/** Does something around each call of a method, until the test is over. */
function watch<Name extends string, Result>(
  owner: { [key in Name]: (...given: never[]) => Promise<Result> },
  name: Name,
  around: (call: () => Promise<Result>) => Promise<Result>,
): Disposable {
  const method = owner[name];
  owner[name] = function (...given) {
    return around(() => method.apply(this, given));
  };
  return { [Symbol.dispose]: () => void (owner[name] = method) };
}

/** A step that tells when latents are asked for. */
function watchedLatents(tell: () => void) {
  const watched = (inner: LatentProvider): LatentProvider => ({
    open: async (bases) => {
      const opened = await inner.open(bases);
      return {
        get: (samples) => {
          tell();
          return opened.get(samples);
        },
        [Symbol.dispose]: () => opened[Symbol.dispose](),
      };
    },
  });
  return d.defineStep({
    name: "watch latents",
    version: 1,
    options: {},
    needs: { latents },
    gives: { latents: d.replacing(latents) },
    plan: ({ latents }) => ({ gives: { latents } }),
    run: ({ latents }) => Promise.resolve({ latents: watched(latents) }),
  });
}

/** What happened in a training of both networks with default settings, up to its last step's end, in order. */
async function trainWatched(): Promise<string[]> {
  const happened: string[] = [];
  let asked = 0, step = 0, isReadingFigures = false;
  using _train = watch(Trainer.prototype, "train", async (call) => {
    const own = step++;
    happened.push(`step ${own} begins`);
    const figures = await call();
    happened.push(`step ${own} was queued`);
    return figures;
  });
  using _read = watch(Recorder.prototype, "read", async (call) => {
    isReadingFigures = true;
    const rows = await call();
    isReadingFigures = false;
    return rows;
  });
  using _map = watch(GPUBuffer.prototype, "mapAsync", (call) => {
    happened.push(isReadingFigures ? "figures are read" : "something else is read");
    return call();
  });
  await inNewFolder(async (folder) => {
    const recipe = d.pipeline("watched")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDreambooth({ ...await smallData(folder), resolution: 64, batchSize: 1 }))
      .use(d.cacheLatents())
      // Two networks ask in each step.
      .use(watchedLatents(() => asked++ % 2 === 0 && happened.push(`batch ${(asked - 1) / 2} is made`)))
      .use(d.trainBoth({ rank: 2, parts: ["unet"], steps }));
    const { error } = await runRecorded(recipe, { folder: join(folder, "run") });
    equal(error, null);
  });
  const first = happened.indexOf("batch 0 is made"), last = happened.indexOf(`step ${steps - 1} was queued`);
  return happened.slice(first, last + 1);
}

let training: Promise<string[]> | null = null;

Deno.test("with default settings training reads nothing back but its figures, once in ten steps", async () => {
  const happened = await (training ??= trainWatched());
  const readIn = [...happened.entries()].flatMap(([at, what]) =>
    what.endsWith("read") ? [[what, happened[at + 1]]] : []
  );
  deepEqual(readIn, [
    ["figures are read", "step 9 was queued"],
    ["figures are read", "step 19 was queued"],
  ]);
});

Deno.test("the next step's batch is begun before a step is queued", async () => {
  const happened = await (training ??= trainWatched());
  const expected = Array.from({ length: steps }, (_, step) => [
    ...step + 1 < steps ? [`batch ${step + 1} is made`] : [],
    `step ${step} begins`,
    `step ${step} was queued`,
  ]);
  deepEqual(happened.filter((what) => !what.endsWith("read")), ["batch 0 is made", ...expected.flat()]);
});
