import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { defineStep, InterruptedError, pipeline, type RunEvent, thing } from "./mod.ts";
import { inNewFolder, kinds, latents, network, reasons, recipe, run, steps } from "./testing/small_recipe.ts";

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

Deno.test("run() asks every plan whether the machine can do it before the first step runs, and not when nothing is to do", () =>
  inNewFolder(async ({ folder }) => {
    const ran: string[] = [], asked: number[] = [];
    const made = (limit: number) => {
      const first = defineStep({
        name: "first",
        version: 1,
        gives: { latents },
        run: () => (ran.push("first"), { latents: [] }),
      });
      const second = defineStep({
        name: "second",
        version: 1,
        options: { limit },
        needs: { latents },
        plan: () => ({
          check: () => {
            asked.push(limit);
            if (limit < 1) throw new RangeError("Cannot run second: the machine is too small");
          },
        }),
        run: () => void ran.push("second"),
      });
      return pipeline("checked").use(first).use(second);
    };
    const failed: string[] = [];
    const onEvent = (event: RunEvent) => event.type === "step-failed" && failed.push(event.step);
    await rejects(made(0).run({ folder, onEvent }), { message: "Cannot run second: the machine is too small" });
    deepEqual({ ran, asked, failed }, { ran: [], asked: [0], failed: ["second"] });
    for (const _ of [0, 1]) await made(1).run({ folder });
    deepEqual({ ran, asked }, { ran: ["first", "second"], asked: [0, 1] });
    await made(1).describe();
    deepEqual(asked, [0, 1]);
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

Deno.test("an aborted run stops between making a needed value again and the step that needs it", () =>
  inNewFolder(async (world) => {
    await run(world);
    const user = new AbortController();
    const onEvent = (event: RunEvent) => void (event.type === "step-finished" && user.abort());
    world.ran = [];
    const again = recipe(world, { epochs: 5 }).run({ folder: world.folder, signal: user.signal, onEvent });
    await rejects(again, InterruptedError);
    deepEqual(world.ran, ["load"]);
  }));

Deno.test("a run with an aborted signal does nothing, even where nothing is to do", () =>
  inNewFolder(async (world) => {
    await run(world);
    const signal = AbortSignal.abort();
    await rejects(() => recipe(world).run({ folder: world.folder, signal }), InterruptedError);
  }));

/** Counts to 10 with a checkpoint at each number; stops when told to. */
function counter(options: { start: number; out?: string; stopAt?: number; user?: AbortController; from: number[] }) {
  const total = thing<number>();
  return pipeline("count").use(defineStep({
    name: "count",
    version: 1,
    options: { start: options.start, out: options.out ?? "here" },
    workOptions: { start: options.start },
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
    // Of the options that changed, this one decides nothing of the work.
    deepEqual((await counter({ start: 100, out: "there", from }).run({ folder, keep: ["total"] })).values, {
      total: 110,
    });
    deepEqual(from, [0, 4, 0, 4]);
    await stopped(150);
    deepEqual((await counter({ start: 200, from }).run({ folder, keep: ["total"] })).values, { total: 210 });
    deepEqual(from, [0, 4, 0, 4, 0, 0]);
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

Deno.test("time left is that of the work at hand: work in another unit, such as compiling, is not in its pace", () =>
  inNewFolder(async ({ folder }) => {
    const events: RunEvent[] = [];
    const work = defineStep({
      name: "work",
      run: async (_, { progress }) => {
        progress({ done: 0, total: 1, unit: "programs" });
        await new Promise((done) => setTimeout(done, 300));
        for (let step = 1; step <= 3; step++) progress({ done: step, total: 1000, unit: "steps" });
      },
    });
    await pipeline("p").use(work).run({ folder, onEvent: (event) => events.push(event) });
    const left = events.flatMap((event) => event.type === "progress" ? [event.etaSeconds] : []);
    deepEqual(left.map((seconds) => seconds === undefined), [true, true, false, false]);
    // A tenth of a second or more for each of a thousand steps, if it counted.
    ok(left[3]! < 50, `${left[3]} s`);
  }));
