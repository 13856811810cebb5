import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { defineStep, type EarlierStart, InterruptedError, pipeline, type RunEvent, thing } from "./mod.ts";
import { inNewFolder } from "./testing/small_recipe.ts";

/** Counts to 10 by `by`, from where its checkpoint is; stops behind `stopAt`. */
function counter(by: number, stopAt = Infinity, seen: (EarlierStart | undefined)[] = []) {
  const user = new AbortController(), total = thing<number[]>();
  const recipe = pipeline("count").use(defineStep({
    name: "count",
    version: 1,
    options: { by, nested: { list: [by] } },
    gives: { total },
    store: "json",
    fingerprint: (_signal, _folder, earlier) => (seen.push(earlier), "outside"),
    async run(_, run) {
      const checkpoint = join(run.folder, "count.json");
      const counted: number[] = JSON.parse(await Deno.readTextFile(checkpoint).catch(() => "[]"));
      while (counted.length < 10) {
        run.signal.throwIfAborted();
        counted.push(counted.length * by);
        await Deno.writeTextFile(checkpoint, JSON.stringify(counted));
        if (counted.length >= stopAt) user.abort();
      }
      return { total: counted };
    },
  }));
  return async (folder: string) => {
    const events: RunEvent[] = [];
    const run = recipe.run({ folder, signal: user.signal, onEvent: (event) => events.push(event), keep: ["total"] });
    let total: number[] | null = null;
    if (stopAt < 10) await rejects(run, InterruptedError);
    else total = (await run).values.total;
    const notes = events.flatMap((event) => event.type === "warning" ? [event.message] : []);
    const resumes = events.some((event) => event.type === "step-started" && event.resumes);
    return { notes, resumes, total };
  };
}

Deno.test("work with other settings is set aside and told by name, and those settings go on with it later", () =>
  inNewFolder(async ({ folder }) => {
    const step = join(folder, "steps", "01-count");
    const asides = async () => (await readdir(step)).filter((name) => name.startsWith("set-aside-"));
    deepEqual(await counter(1, 4)(folder), { notes: [], resumes: false, total: null });
    const other = await counter(2, 3)(folder);
    equal(other.resumes, false);
    equal(other.notes.length, 1);
    match(
      other.notes[0],
      /^other unfinished work is set aside: options\.by was 1, now it is 2; options\.nested\.list was \[1\], now it is \[2\]\. /,
    );
    const [aside] = await asides();
    ok(other.notes[0].includes(`It lies in ${join(step, aside)}; started as before, the step goes on with it`));
    equal(await Deno.readTextFile(join(step, aside, "work", "count.json")), "[0,1,2,3]");

    // Back and forth: nothing is counted twice.
    const back = await counter(1, 6)(folder);
    deepEqual([back.resumes, back.notes.length, back.notes[1]], [true, 2, "goes on with the work that was set aside"]);
    equal(await Deno.readTextFile(join(step, "work", "count.json")), "[0,1,2,3,4,5]");
    const finished = await counter(2)(folder);
    deepEqual([finished.resumes, finished.total], [true, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]]);
    // What is finished takes nothing along of what was set aside.
    equal((await asides()).length, 1);
    deepEqual((await counter(1)(folder)).total, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    deepEqual(await asides(), []);
  }));

Deno.test("one set of work is kept aside: the one before it is removed, and told by its folder", () =>
  inNewFolder(async ({ folder }) => {
    const step = join(folder, "steps", "01-count");
    await counter(1, 4)(folder);
    await counter(2, 4)(folder);
    const [first] = (await readdir(step)).filter((name) => name.startsWith("set-aside-"));
    const { notes } = await counter(3, 4)(folder);
    ok(notes[0].endsWith(`What was set aside earlier, in ${join(step, first)}, is removed: one is kept`), notes[0]);
    equal((await readdir(step)).filter((name) => name.startsWith("set-aside-")).length, 1);
    equal((await counter(1, 2)(folder)).resumes, false);
    // Damaged or written by another version: what it belongs to is not known, and it is kept all the same.
    await Deno.writeTextFile(join(step, "started.json"), '{"inputsHash":"0"}\n');
    const unknown = await counter(4, 4)(folder);
    match(
      unknown.notes[0],
      /^other unfinished work is set aside: what it belongs to is not known\. It lies in \S+\. What was/,
    );
  }));

Deno.test("work whose only checkpoint was just being replaced is set aside like other work, and is known as begun", () =>
  inNewFolder(async ({ folder }) => {
    const step = join(folder, "steps", "01-count"), seen: (EarlierStart | undefined)[] = [];
    await counter(1, 4)(folder);
    // As a kill between the two renames leaves it.
    const hidden = ".tmp-old-count.json-01234567-89ab-cdef-0123-456789abcdef";
    await Deno.rename(join(step, "work", "count.json"), join(step, "work", hidden));
    equal((await counter(2, 4, seen)(folder)).notes.length, 1);
    await counter(1, 4, seen)(folder);
    deepEqual(seen, [undefined, { options: { by: 1, nested: { list: [1] } }, fingerprint: "outside" }]);
    ok((await readdir(join(step, "work"))).includes(hidden));
  }));

Deno.test("a step is told of an earlier start with the same options while its work or its product is there", () =>
  inNewFolder(async ({ folder }) => {
    const seen: (EarlierStart | undefined)[] = [];
    const told = { options: { by: 1, nested: { list: [1] } }, fingerprint: "outside" };
    await counter(1, 4, seen)(folder);
    await counter(1, 5, seen)(folder);
    await counter(2, 5, seen)(folder);
    // Set aside.
    await counter(1, Infinity, seen)(folder);
    // Finished.
    await counter(1, Infinity, seen)(folder);
    deepEqual(seen, [undefined, told, undefined, told, told]);
  }));
