import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { defineStep, InterruptedError, pipeline, replacing, type RunEvent, thing } from "./mod.ts";

/** Things that look like ours: bases with something to release, latents and a network that are kept on disk. */
class Bases {
  released = 0;
  constructor(readonly factor: number) {}
  [Symbol.asyncDispose]() {
    this.released++;
    return Promise.resolve();
  }
}
const bases = thing<Bases>();
const latents = thing<number[]>();
const network = thing<{ weights: number[] }>();

interface World {
  folder: string;
  /** Names of the steps whose `run` was called. */
  ran: string[];
  events: RunEvent[];
  made: Bases[];
}

async function inNewFolder(test: (world: World) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test({ folder, ran: [], events: [], made: [] });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

interface Options {
  factor?: number;
  cut?: number;
  epochs?: number;
  model?: string;
}

function steps(world: World, { factor = 2, cut = 100, epochs = 3, model = "v1" }: Options = {}) {
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

function recipe(world: World, options: Options = {}) {
  const { load, cache, train, report } = steps(world, options);
  return pipeline("small").use(load).use(cache).use(train).use(report);
}

async function run(world: World, options: Options = {}): Promise<string[]> {
  world.ran = [];
  world.events = [];
  await recipe(world, options).run({ folder: world.folder, onEvent: (event) => world.events.push(event) });
  return world.ran;
}

const kinds = (world: World) =>
  world.events.map((event) => "step" in event ? `${event.step}: ${event.type.replace("step-", "")}` : event.type);
const reasons = (world: World) =>
  world.events.flatMap((event) => event.type === "step-started" ? [`${event.step}: ${event.because}`] : []);

Deno.test("run() runs every step in order the first time and reports each", () =>
  inNewFolder(async (world) => {
    deepEqual(await run(world), ["load", "cache", "train", "report"]);
    deepEqual(kinds(world), [
      "run-started",
      "load bases: started",
      "load bases: finished",
      "cache latents: started",
      "cache latents: finished",
      "train: started",
      "train: progress",
      "train: figures",
      "train: finished",
      "report: started",
      "report: artifact",
      "report: finished",
      "run-finished",
    ]);
    // By hand: latents 2, 4, 6; weights 2 · latent + 3.
    equal(await Deno.readTextFile(join(world.folder, "report.txt")), "7,11,15");
  }));

Deno.test("run() runs and loads nothing when everything is done", () =>
  inNewFolder(async (world) => {
    await run(world);
    deepEqual(await run(world), []);
    deepEqual(kinds(world), [
      "run-started",
      "load bases: unchanged",
      "cache latents: unchanged",
      "train: unchanged",
      "report: unchanged",
      "run-finished",
    ]);
  }));

Deno.test("run() redoes a step whose option changed, with what it needs, and what depends on it", () =>
  inNewFolder(async (world) => {
    await run(world);
    deepEqual(await run(world, { epochs: 4 }), ["load", "train", "report"]);
    deepEqual(reasons(world), [
      "load bases: 'train' needs 'bases'",
      "train: options.epochs changed",
      "report: 'network' changed",
    ]);
    ok(kinds(world).includes("cache latents: loaded"));
    equal(await Deno.readTextFile(join(world.folder, "report.txt")), "8,12,16");
  }));

Deno.test("run() stops redoing where a redone step made the same as before", () =>
  inNewFolder(async (world) => {
    await run(world);
    // No latent is above 100, so a cut at 50 changes none.
    deepEqual(await run(world, { cut: 50 }), ["load", "cache"]);
    deepEqual(await run(world, { cut: 5 }), ["load", "cache", "train", "report"]);
  }));

Deno.test("run() redoes what depends on a changed fingerprint", () =>
  inNewFolder(async (world) => {
    await run(world);
    // Same latents, but train also needs the bases themselves; its network is the same, so no new report.
    deepEqual(await run(world, { model: "v2" }), ["load", "cache", "train"]);
    equal(reasons(world)[0], "load bases: what it reads from outside changed");
  }));

Deno.test("run() goes on at the step that failed", () =>
  inNewFolder(async (world) => {
    let broken = true;
    const shaky = recipe(world).use(defineStep({
      name: "shaky",
      needs: { network },
      run: () => {
        if (broken) throw new RangeError("loss is NaN at step 7");
      },
    }));
    const onEvent = (event: RunEvent) => world.events.push(event);
    await rejects(() => shaky.run({ folder: world.folder, onEvent }), new RangeError("loss is NaN at step 7"));
    deepEqual(kinds(world).slice(-3), ["shaky: started", "shaky: failed", "run-failed"]);
    broken = false;
    world.ran = [];
    const { steps } = await shaky.run({ folder: world.folder });
    deepEqual(world.ran, []);
    deepEqual(steps.map(({ outcome }) => outcome), ["unchanged", "unchanged", "unchanged", "unchanged", "ran"]);
  }));

const damages: Record<string, (step: string) => Promise<void>> = {
  "a product's file is missing": (step) => Deno.remove(`${step}/product/product.json`),
  "a product's file was cut short": (step) => Deno.truncate(`${step}/product/product.json`, 5),
  "one byte of a product was changed": async (step) => {
    const bytes = await Deno.readFile(`${step}/product/product.json`);
    bytes[bytes.length - 3] ^= 1;
    await Deno.writeFile(`${step}/product/product.json`, bytes);
  },
  "the manifest is missing": (step) => Deno.remove(`${step}/manifest.json`),
  "the manifest was cut short": (step) => Deno.truncate(`${step}/manifest.json`, 20),
  "the manifest is other JSON": (step) => Deno.writeTextFile(`${step}/manifest.json`, "null"),
  "saving was cut short": async (step) => {
    await rename(`${step}/product`, `${step}/product.new`);
    await Deno.remove(`${step}/manifest.json`);
  },
};
for (const [damage, harm] of Object.entries(damages)) {
  Deno.test(`run() redoes a step and says why if ${damage}`, () =>
    inNewFolder(async (world) => {
      await run(world);
      await harm(join(world.folder, "steps", "02-cache-latents"));
      deepEqual(await run(world), ["load", "cache"]);
      const [damaged] = world.events.filter((event) => event.type === "step-damaged");
      match(damaged.problem, /02-cache-latents/);
      deepEqual(await run(world), []);
    }));
}

Deno.test("run() redoes a step if a file it made for the user was changed or removed", () =>
  inNewFolder(async (world) => {
    await run(world);
    await Deno.remove(join(world.folder, "report.txt"));
    deepEqual(await run(world), ["report"]);
    await Deno.writeTextFile(join(world.folder, "report.txt"), "7,11,16");
    deepEqual(await run(world), ["report"]);
    equal(await Deno.readTextFile(join(world.folder, "report.txt")), "7,11,15");
  }));

Deno.test("run() keeps a step's product when a step is put in before it", () =>
  inNewFolder(async (world) => {
    const count = defineStep({ name: "count", needs: { latents }, run: () => void world.ran.push("count") });
    const { load, cache, train } = steps(world);
    await pipeline("p").use(load).use(cache).use(train).run({ folder: world.folder });
    world.ran = [];
    await pipeline("p").use(load).use(cache).use(count).use(train).run({ folder: world.folder });
    deepEqual(world.ran, ["count"]);
    deepEqual([...Deno.readDirSync(join(world.folder, "steps"))].map(({ name }) => name).sort(), [
      "01-load-bases",
      "02-cache-latents",
      "03-count",
      "04-train",
    ]);
  }));

Deno.test("a step without a version is redone when its source changes", () =>
  inNewFolder(async ({ folder }) => {
    const number = thing<number>();
    let ran = 0;
    const one = defineStep({ name: "n", gives: { number }, store: "json", run: () => ({ number: (ran++, 1) }) });
    const two = defineStep({ name: "n", gives: { number }, store: "json", run: () => ({ number: (ran++, 2) }) });
    for (const step of [one, one, two]) await pipeline("p").use(step).run({ folder });
    equal(ran, 2);
    deepEqual((await pipeline("p").use(two).run({ folder, keep: ["number"] })).values, { number: 2 });
  }));

Deno.test("a second run in the same folder is refused while the first is at work", () =>
  inNewFolder(async (world) => {
    let second: Promise<unknown> | undefined;
    const meet = defineStep({
      name: "meet",
      run: async () => {
        second = recipe(world).run({ folder: world.folder });
        await rejects(second, /Cannot run in .*: another run works there/);
      },
    });
    await pipeline("first").use(meet).run({ folder: world.folder });
    ok(second);
    deepEqual(world.ran, []);
    deepEqual(await run(world), ["load", "cache", "train", "report"]);
  }));

Deno.test("a lock file that a killed run left behind is no obstacle", () =>
  inNewFolder(async (world) => {
    await Deno.writeTextFile(join(world.folder, "run.lock"), '{"pid":1,"host":"elsewhere","since":"long ago"}');
    deepEqual(await run(world), ["load", "cache", "train", "report"]);
  }));

Deno.test("an aborted run stops before the next step and goes on there later", () =>
  inNewFolder(async (world) => {
    const user = new AbortController();
    const onEvent = (event: RunEvent) => {
      world.events.push(event);
      if (event.type === "step-finished" && event.step === "cache latents") user.abort();
    };
    await rejects(() => recipe(world).run({ folder: world.folder, signal: user.signal, onEvent }), (error) => {
      ok(error instanceof InterruptedError);
      equal(error.step, "train");
      return true;
    });
    deepEqual(kinds(world).slice(-2), ["cache latents: finished", "run-interrupted"]);
    deepEqual(await run(world), ["load", "train", "report"]);
  }));

/** Counts to 10 with a checkpoint at each number; stops when told to. */
function counter(options: { start: number; stopAt?: number; user?: AbortController; from: number[] }) {
  const total = thing<number>();
  return pipeline("count").use(defineStep({
    name: "count",
    version: 1,
    options: { start: options.start },
    gives: { total },
    store: "json",
    async run(_, run) {
      const checkpoint = join(run.folder, "count.txt");
      const saved = await Deno.readTextFile(checkpoint).catch(() => "0");
      options.from.push(Number(saved));
      for (let n = Number(saved) + 1; n <= 10; n++) {
        run.signal.throwIfAborted();
        await Deno.writeTextFile(checkpoint, String(n));
        if (n === options.stopAt) options.user?.abort();
      }
      return { total: options.start + 10 };
    },
  }));
}

Deno.test("a step that was stopped finds its own folder as it left it, unless its inputs changed", () =>
  inNewFolder(async ({ folder }) => {
    const from: number[] = [];
    const stopped = async (start: number) => {
      const user = new AbortController();
      const recipe = counter({ start, stopAt: 4, user, from });
      await rejects(() => recipe.run({ folder, signal: user.signal }), (error) => {
        ok(error instanceof InterruptedError);
        equal(error.message, "Interrupted in step 'count': run the recipe again to go on");
        return true;
      });
    };
    await stopped(0);
    const events: RunEvent[] = [];
    const { values } = await counter({ start: 0, from }).run({
      folder,
      onEvent: (e) => events.push(e),
      keep: ["total"],
    });
    deepEqual(from, [0, 4]);
    deepEqual(values, { total: 10 });
    ok(events.some((event) => event.type === "step-started" && event.resumes));
    await stopped(100);
    deepEqual((await counter({ start: 200, from }).run({ folder, keep: ["total"] })).values, { total: 210 });
    deepEqual(from, [0, 4, 0, 0]);
  }));

Deno.test("a failed save leaves the old product whole", () =>
  inNewFolder(async ({ folder }) => {
    const text = thing<string>();
    const make = (made: string, isFull: boolean) =>
      pipeline("p").use(defineStep({
        name: "write",
        version: 1,
        options: { made },
        gives: { text },
        run: () => ({ text: made }),
        store: {
          save: async ({ text }, folder) => {
            await Deno.writeTextFile(`${folder}/text`, text);
            if (isFull) throw new Error("no space left");
          },
          load: async (folder) => ({ text: await Deno.readTextFile(`${folder}/text`) }),
        },
      }));
    await make("old", false).run({ folder });
    await rejects(() => make("new", true).run({ folder }), /no space left/);
    const { values, steps } = await make("old", false).run({ folder, keep: ["text"] });
    deepEqual([values.text, steps[0].outcome], ["old", "unchanged"]);
  }));

Deno.test("a value is released once, after its last use, and also when a step fails", () =>
  inNewFolder(async (world) => {
    const seen: number[] = [];
    const look = defineStep({ name: "look", needs: { network }, run: () => void seen.push(world.made[0].released) });
    await recipe(world).use(look).run({ folder: world.folder });
    // train, the third step, is the last to need the bases.
    deepEqual(seen, [1]);
    deepEqual(world.made.map(({ released }) => released), [1]);

    const fail = defineStep({
      name: "fail",
      needs: { bases },
      run: () => {
        throw new Error("no");
      },
    });
    await rejects(() => recipe(world).use(fail).run({ folder: world.folder }), new Error("no"));
    deepEqual(world.made.map(({ released }) => released), [1, 1]);
  }));

Deno.test("a replaced value is not released under the step that took it over", () =>
  inNewFolder(async (world) => {
    const scale = defineStep({
      name: "scale",
      needs: { bases },
      gives: { bases: replacing(bases) },
      run: ({ bases }) => ({ bases }),
    });
    const seen: number[] = [];
    const look = defineStep({ name: "look", needs: { bases }, run: ({ bases }) => void seen.push(bases.released) });
    await recipe(world).use(scale).use(look).run({ folder: world.folder });
    deepEqual(seen, [0]);
    deepEqual(world.made.map(({ released }) => released), [1]);
  }));

Deno.test("values to keep are handed back unreleased, loaded or made again if need be", () =>
  inNewFolder(async (world) => {
    const keep = ["bases", "network"] as const;
    const first = await recipe(world).run({ folder: world.folder, keep });
    equal(first.values.bases.released, 0);
    const again = await recipe(world).run({ folder: world.folder, keep });
    deepEqual(again.values.network, { weights: [7, 11, 15] });
    deepEqual(world.ran, ["load", "cache", "train", "report", "load"]);
    equal(again.values.bases.released, 0);
  }));

Deno.test("a step that does not give what it says fails by name and is not recorded as done", () =>
  inNewFolder(async ({ folder }) => {
    const forget = defineStep({ name: "forget", gives: { latents }, run: () => ({}) as { latents: number[] } });
    for (let attempt = 0; attempt < 2; attempt++) {
      await rejects(() => pipeline("p").use(forget).run({ folder }), {
        name: "TypeError",
        message: "Step 'forget' says it gives 'latents', but it gave nothing",
      });
    }
  }));

Deno.test("an artifact that is no file is refused", () =>
  inNewFolder(async ({ folder }) => {
    const claim = defineStep({ name: "claim", run: (_, run) => run.artifact(join(folder, "nowhere.png")) });
    await rejects(() => pipeline("p").use(claim).run({ folder }), /nowhere.png as an artifact of step 'claim'/);
  }));

Deno.test("a fingerprint that is not plain data is refused by the step's name", () =>
  inNewFolder(async ({ folder }) => {
    const step = defineStep({ name: "s", fingerprint: () => ({ size: Infinity }), run() {} });
    await rejects(() => pipeline("p").use(step).run({ folder }), /Cannot write fingerprint.size of step 's' as JSON/);
  }));

Deno.test("values that are made again replace and release what is left of the earlier ones", () =>
  inNewFolder(async ({ folder }) => {
    const made: { name: string; released: number }[] = [];
    const make = (name: string) => {
      const value = { name, released: 0, release: () => void value.released++ };
      made.push(value);
      return value;
    };
    const [first, second, derived] = [thing<{ name: string }>(), thing<{ name: string }>(), thing<{ name: string }>()];
    const pair = defineStep({
      name: "pair",
      version: 1,
      gives: { first, second },
      run: () => ({ first: make("first"), second: make("second") }),
    });
    const derive = defineStep({
      name: "derive",
      version: 1,
      needs: { first },
      gives: { derived },
      run: () => ({ derived: make("derived") }),
    });
    const early = (text: string) =>
      defineStep({ name: "early", version: 1, options: { text }, needs: { second }, run() {} });
    const late = (text: string) =>
      defineStep({ name: "late", version: 1, options: { text }, needs: { second, derived }, run() {} });
    const use = (text: string) => pipeline("p").use(pair).use(derive).use(early(text)).use(late(text)).run({ folder });
    await use("a");
    deepEqual(made.map(({ name, released }) => [name, released]), [["first", 1], ["second", 1], ["derived", 1]]);
    made.length = 0;
    // early has the pair made again and first is let go at once; late has derived made again, for which first is needed.
    await use("b");
    deepEqual(made.map(({ name }) => name), ["first", "second", "first", "second", "derived"]);
    deepEqual(made.map(({ released }) => released), [1, 1, 1, 1, 1]);
  }));

Deno.test("a failing release stops a good run, but does not hide why another failed", () =>
  inNewFolder(async ({ folder }) => {
    const value = thing<{ release: () => void }>();
    const release = () => {
      throw new Error("stuck");
    };
    const give = defineStep({ name: "give", gives: { value }, run: () => ({ value: { release } }) });
    await rejects(() => pipeline("p").use(give).run({ folder }), /Cannot release 'value'/);
    const fail = defineStep({
      name: "fail",
      needs: { value },
      run: () => {
        throw new Error("first");
      },
    });
    const events: RunEvent[] = [];
    const onEvent = (event: RunEvent) => events.push(event);
    await rejects(() => pipeline("p").use(give).use(fail).run({ folder, onEvent }), new Error("first"));
    ok(events.some((event) => event.type === "warning" && event.message === "Cannot release 'value': stuck"));
  }));
