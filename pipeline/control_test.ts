import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { existsSync } from "node:fs";
import { lstat, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { controlName, defineStep, InterruptedError, isRunning, journalName, pipeline, type RunEvent } from "./mod.ts";
import { makeLink } from "../tests/make_link.ts";
import { inNewFolder } from "./testing/small_recipe.ts";

/** Rounds that a step has counted and is to count, and behind which it saved. */
interface Rounds {
  count: number;
  limit: number;
  saved: number[];
}

/** A step that counts rounds until it is told to stop, and saves when it is asked to. */
function counting(rounds: Rounds) {
  return defineStep({
    name: "count",
    version: 1,
    async run(_, run) {
      for (rounds.count = 0; rounds.count < rounds.limit; rounds.count++) {
        await delay(5);
        run.signal.throwIfAborted();
        run.progress({ done: rounds.count, total: 1000, unit: "rounds" });
        const wish = run.control.wish();
        if (wish === null) continue;
        rounds.saved.push(rounds.count);
        run.saved([]);
        if (wish === "pause") await run.control.whilePaused();
      }
    },
  });
}

/**
 * Runs a recipe of one such step, and hands over what asks it for something.
 *
 * @param options.more Rounds until its end behind all that was asked for, however long that took; without end when left out.
 */
async function counted(
  folder: string,
  ask: (run: {
    rounds: Rounds;
    wish(wish: unknown, id?: string): Promise<void>;
    until(type: RunEvent["type"]): Promise<void>;
  }) => Promise<void>,
  options: { more?: number; signal?: AbortSignal } = {},
): Promise<{ rounds: Rounds; events: RunEvent[]; error: unknown }> {
  const rounds: Rounds = { count: 0, limit: Infinity, saved: [] }, events: RunEvent[] = [];
  const { signal, more = Infinity } = options;
  const going = pipeline("counting").use(counting(rounds)).run({
    folder,
    onEvent: (event) => void events.push(event),
    ...signal ? { signal } : {},
  });
  const ended = going.then(() => null, (error) => error);
  let isOver = false;
  ended.finally(() => isOver = true);
  const waitFor = async (what: string, isThere: () => boolean) => {
    for (; !isThere(); await delay(5)) if (isOver) throw new Error(`The run ended before ${what}`);
  };
  const until = (type: RunEvent["type"]) => waitFor(type, () => events.some((event) => event.type === type));
  const wish = async (wish: unknown, id?: string) => {
    await until("run-started");
    const [started] = events;
    const run = id ?? (started.type === "run-started" ? started.id : "");
    await writeFile(join(folder, controlName), typeof wish === "string" ? JSON.stringify({ run, wish }) : "{");
    await waitFor("it read its control file", () => !existsSync(join(folder, controlName)));
  };
  await ask({ rounds, wish, until });
  rounds.limit = rounds.count + more;
  return { rounds, events, error: await ended };
}

const named = (events: readonly RunEvent[], ...types: RunEvent["type"][]) =>
  events.map(({ type }) => type).filter((type) => types.includes(type));

Deno.test("a run that is asked to pause saves, waits without working, and goes on when asked to", () =>
  inNewFolder(async ({ folder }) => {
    const { rounds, events, error } = await counted(folder, async ({ rounds, wish, until }) => {
      await wish("pause");
      await until("paused");
      const { count } = rounds;
      await delay(100);
      equal(rounds.count, count);
      await wish("resume");
      await until("resumed");
      await delay(100);
      ok(rounds.count > count);
      await wish("stop");
    });
    const told = named(events, "asked", "saved", "paused", "resumed");
    deepEqual(told, ["asked", "saved", "paused", "asked", "resumed", "asked"]);
    equal(rounds.saved.length, 1);
    ok(error instanceof InterruptedError);
    const resumed = events.findIndex(({ type }) => type === "resumed");
    const paces = (from: number, to?: number) =>
      events.slice(from, to).flatMap((event) => event.type === "progress" ? [event.secondsEach] : []);
    // Waiting does not count: the pace is measured anew.
    ok(paces(0, resumed).at(-1)! > 0);
    equal(paces(resumed)[0], undefined);
  }));

Deno.test("a wish to save is fulfilled once, and the run goes on to its end", () =>
  inNewFolder(async ({ folder }) => {
    const { rounds, events, error } = await counted(folder, ({ wish }) => wish("save"), { more: 100 });
    deepEqual([rounds.count, rounds.saved.length, error], [rounds.limit, 1, null]);
    ok(rounds.count > rounds.saved[0]);
    deepEqual(named(events, "saved", "paused"), ["saved"]);
  }));

Deno.test("a paused run ends when it is asked to stop, and when its signal is aborted", () =>
  inNewFolder(async ({ folder }) => {
    const stop = new AbortController();
    for (const how of ["wish", "signal"]) {
      const { events, error } = await counted(folder, async ({ wish, until }) => {
        await wish("pause");
        await until("paused");
        if (how === "wish") await wish("stop");
        else stop.abort();
      }, how === "signal" ? { signal: stop.signal } : {});
      ok(error instanceof InterruptedError, how);
      deepEqual(named(events, "paused", "resumed", "run-interrupted"), ["paused", "run-interrupted"]);
    }
  }));

Deno.test("a control file for another run, one that an earlier run left, and one that is no wish, are removed and not followed", () =>
  inNewFolder(async ({ folder }) => {
    await writeFile(join(folder, controlName), JSON.stringify({ run: "", wish: "stop" }));
    const { events, error } = await counted(folder, async ({ wish }) => {
      await wish("stop", "an earlier run");
      await wish("leap");
      await wish(null);
    }, { more: 5 });
    equal(error, null);
    const warnings = events.flatMap((event) => event.type === "warning" ? [event.message] : []);
    equal(warnings.length, 3);
    for (const warning of warnings) {
      match(warning, /control\.json was removed and not followed: it has to hold \{"run": "[0-9a-f-]{36}"/);
    }
  }));

Deno.test("a control file that cannot be read is told of once, and the run goes on", () =>
  inNewFolder(async ({ folder }) => {
    const { events, error } = await counted(folder, async ({ until }) => {
      await until("run-started");
      await mkdir(join(folder, controlName));
      await until("warning");
    }, { more: 100 });
    equal(error, null);
    equal(named(events, "warning").length, 1);
  }));

Deno.test("a stop reaches steps that never ask for wishes", () =>
  inNewFolder(async ({ folder }) => {
    const started = Promise.withResolvers<string>();
    const waiting = defineStep({
      name: "wait",
      version: 1,
      async run(_, { signal }) {
        for (let round = 0; round < 1000; round++) {
          signal.throwIfAborted();
          await delay(5);
        }
      },
    });
    const going = pipeline("waiting").use(waiting).run({
      folder,
      onEvent: (event) => event.type === "run-started" && started.resolve(event.id),
    });
    const run = await started.promise;
    await writeFile(join(folder, controlName), JSON.stringify({ run, wish: "stop" }));
    await rejects(going, InterruptedError);
  }));

Deno.test("isRunning() tells a run at work from one that has ended, and keeps none from starting", () =>
  inNewFolder(async ({ folder }) => {
    equal(await isRunning(folder), false);
    await counted(folder, async ({ wish, until }) => {
      await until("run-started");
      equal(await isRunning(folder), true);
      await wish("stop");
    });
    equal(await isRunning(folder), false);
    // Who looks holds the lock for a moment: a run that starts just then tries again.
    const look = await Deno.open(join(folder, "run.lock"), { read: true });
    await look.lock(false);
    const looking = delay(30).then(() => look.close());
    equal((await counted(folder, async () => {}, { more: 1 })).error, null);
    await looking;
  }));

Deno.test("the journal tells what happened, a line for each event, and a run that goes on writes behind a half line", () =>
  inNewFolder(async ({ folder }) => {
    await counted(folder, async () => {}, { more: 1 });
    const path = join(folder, journalName), first = await readFile(path, "utf8");
    const types = (text: string) => text.trimEnd().split("\n").map((line) => JSON.parse(line).type);
    deepEqual(types(first), ["run-started", "step-started", "progress", "step-finished", "run-finished"]);
    await writeFile(path, first + '{"time":1,"ty');
    await counted(folder, async () => {}, { more: 1 });
    const second = (await readFile(path, "utf8")).slice(first.length);
    const [half, ...rest] = second.split("\n");
    equal(half, '{"time":1,"ty');
    deepEqual(types(rest.join("\n")), ["run-started", "step-unchanged", "run-finished"]);
  }));

Deno.test("a run whose journal cannot be opened says so once, and goes on to its end", () =>
  inNewFolder(async ({ folder }) => {
    await mkdir(join(folder, journalName));
    const { error, events } = await counted(folder, async () => {}, { more: 3 });
    equal(error, null);
    const warnings = events.flatMap((event) => event.type === "warning" ? [event.message] : []);
    equal(warnings.length, 1);
    match(
      warnings[0],
      /journal\.jsonl cannot be written any more: it is no plain file; take it away\. The run goes on/,
    );
  }));

Deno.test("a link in the journal's place is replaced, and what it leads to stays as it was", () =>
  inNewFolder(async ({ folder }) => {
    const path = join(folder, "run", journalName), other = join(folder, "notes.txt");
    await mkdir(join(folder, "run"));
    await writeFile(other, "mine");
    await makeLink(other, path);
    const { error } = await counted(join(folder, "run"), async () => {}, { more: 1 });
    equal(error, null);
    equal(await readFile(other, "utf8"), "mine");
    ok((await lstat(path)).isFile());
    match(await readFile(path, "utf8"), /"type":"run-finished"/);
  }));

Deno.test("a folder in the control file's place keeps what is in it, and is told of once", () =>
  inNewFolder(async ({ folder }) => {
    const own = join(folder, controlName, "mine.txt");
    await mkdir(join(folder, controlName));
    await writeFile(own, "mine");
    const { error, events } = await counted(folder, async () => {}, { more: 3 });
    equal(error, null);
    equal(await readFile(own, "utf8"), "mine");
    const warnings = events.flatMap((event) => event.type === "warning" ? [event.message] : []);
    equal(warnings.length, 1);
    match(
      warnings[0],
      /control\.json is no plain file; take it away\. The run goes on, and hears of no wishes any more/,
    );
  }));

Deno.test("a link in the control file's place is removed when a run begins, and what it leads to stays", () =>
  inNewFolder(async ({ folder }) => {
    const other = join(folder, "other.json");
    await writeFile(other, "mine");
    await makeLink(other, join(folder, controlName));
    equal((await counted(folder, async () => {}, { more: 1 })).error, null);
    deepEqual([await readFile(other, "utf8"), existsSync(join(folder, controlName))], ["mine", false]);
  }));
