/**
 * Trains a network on the small base for 5,000 steps, with logs, files and states on the way, and looks at what the process holds:
 * `deno task soak [--steps=5000] [--every=500]`. Exit code 1 if something grows behind the first tenth: host memory by more than 5 %, buffers at
 * all, handles by more than looking at them may take. Open files are counted on Linux alone.
 *
 * @module
 */
import process from "node:process";
import { countOf, taskCommand } from "../../cli/task_command.ts";
import type { Device } from "../../engine/mod.ts";
import * as d from "../../mod.ts";

const { steps, every } = taskCommand("deno task soak", "Trains for many steps, and looks at what the process holds.")
  .option("--steps <count>", "steps of the training", countOf, 5000)
  .option("--every <count>", "steps between two looks", countOf, 500)
  .parse(Deno.args, { from: "user" }).opts();
/** Pipes of the command that counts them may be there or gone. */
const spareHandles = 4;
const megabyte = 2 ** 20;

/** What the process holds after some steps. */
interface Sample {
  readonly step: number;
  readonly rssBytes: number;
  readonly heapBytes: number;
  readonly externalBytes: number;
  readonly buffers: number;
  readonly bufferBytes: number;
  readonly handles: number;
}

let device: Device | undefined;
const look = d.defineStep({
  name: "look at the device",
  needs: { bases: d.things.bases },
  run: ({ bases }) => {
    device = bases.device;
  },
});

const folder = await Deno.makeTempDir({ prefix: "dualora-soak-" }), samples: Sample[] = [];
const recipe = d.pipeline("soak")
  .use(d.loadBases({ network1: "toy" }))
  .use(look)
  .use(d.readDreambooth({ network1: { train: d.toy.character }, resolution: 64, batchSize: 1 }))
  .use(d.cacheLatents())
  .use(d.pretrainNetwork1({
    ...{ rank: 4, steps, learningRate: 1e-4, parts: ["unet"] },
    save: { folder: `${folder}/files`, everySteps: every, lastSteps: 2 * every, state: true },
    logs: { folder: `${folder}/logs` },
  }));

/** Open files, sockets and devices. */
async function handles(): Promise<number> {
  if (Deno.build.os !== "linux") return 0;
  const { stdout } = await new Deno.Command("ls", { args: [`/proc/${Deno.pid}/fd`] }).output();
  return new TextDecoder().decode(stdout).trim().split("\n").length;
}

async function sample(step: number): Promise<void> {
  const { rss, heapUsed, external } = process.memoryUsage(), { buffers, bytes } = device!.statistics;
  const found: Sample = {
    ...{ step, rssBytes: rss, heapBytes: heapUsed, externalBytes: external },
    ...{ buffers, bufferBytes: bytes, handles: await handles() },
  };
  samples.push(found);
  const sizes = [rss, heapUsed, external, bytes].map((size) => (size / megabyte).toFixed(0).padStart(6));
  console.log(
    `step ${`${step}`.padStart(5)}: host ${sizes[0]} MB (heap ${sizes[1]}, external ${sizes[2]}), ` +
      `${buffers} buffers of ${sizes[3]} MB, ${found.handles} handles`,
  );
}

const started = performance.now();
let done = 0, looking = Promise.resolve();
try {
  await recipe.run({
    folder: `${folder}/run`,
    onEvent: (event) => {
      if (event.type !== "progress" || event.unit !== "steps") return;
      const isDue = Math.floor(event.done / every) > Math.floor(done / every);
      done = event.done;
      if (isDue) looking = looking.then(() => sample(event.done));
    },
  });
  await looking;
} finally {
  await Deno.remove(folder, { recursive: true });
}
const after = samples.find(({ step }) => step >= steps / 10)!, last = samples.at(-1)!;
const growth = last.rssBytes / after.rssBytes - 1;
console.log(
  `${done} steps in ${((performance.now() - started) / 1000).toFixed(0)} s; from step ${after.step} on: host ` +
    `${(100 * growth).toFixed(1)} %, buffers ${last.buffers - after.buffers}, handles ${last.handles - after.handles}`,
);
const isFlat = growth < 0.05 && last.buffers === after.buffers && last.handles <= after.handles + spareHandles;
Deno.exit(isFlat ? 0 : 1);
