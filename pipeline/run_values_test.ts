import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { defineStep, pipeline, replacing, type RunEvent, thing } from "./mod.ts";
import { type Bases, bases, inNewFolder, latents, network, recipe } from "./testing/small_recipe.ts";

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
    const wrapped = thing<{ inner: Bases; release: () => Promise<void> }>();
    const wrap = defineStep({
      name: "wrap",
      needs: { bases },
      gives: { bases: replacing(wrapped) },
      run: ({ bases }) => ({ bases: { inner: bases, release: () => bases[Symbol.asyncDispose]() } }),
    });
    const seen: number[] = [];
    const look = defineStep({
      name: "look",
      needs: { bases: wrapped },
      run: ({ bases }) => void seen.push(bases.inner.released),
    });
    await recipe(world).use(wrap).use(look).run({ folder: world.folder });
    deepEqual(seen, [0]);
    deepEqual(world.made.map(({ released }) => released), [1]);
  }));

Deno.test("a value that goes on under a second name is released once", () =>
  inNewFolder(async (world) => {
    const other = thing<Bases>();
    const rename = defineStep({
      name: "r",
      needs: { bases },
      gives: { other },
      run: ({ bases }) => ({ other: bases }),
    });
    const seen: number[] = [];
    const look = defineStep({ name: "look", needs: { other }, run: ({ other }) => void seen.push(other.released) });
    await recipe(world).use(rename).use(look).run({ folder: world.folder });
    deepEqual([seen, world.made.map(({ released }) => released)], [[0], [1]]);
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
