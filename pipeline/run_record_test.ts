import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { join } from "node:path";
import { defineStep, hashFile, pipeline, readRunRecord, type RunRecord, runRecordName, thing } from "./mod.ts";
import { inNewFolder, recipe, run } from "./testing/small_recipe.ts";

/** SHA-256 of `abc` (FIPS 180-2, B.1) and of nothing. */
const [abc, nothing] = [
  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
];

const recordOf = (folder: string) => readRunRecord(join(folder, runRecordName));
const outcomes = ({ steps }: RunRecord) => steps.map(({ name, outcome }) => [name, outcome]);

const text = thing<string>();

/** A step that reads a file and writes another, and one that reads what the first has written. */
function copying(folder: string, during: (run: { signal: AbortSignal }) => Promise<void> = () => Promise.resolve()) {
  const [from, to] = ["in.txt", "out.txt"].map((name) => join(folder, name));
  const copy = defineStep({
    name: "copy",
    version: 3,
    options: { loud: true },
    seeds: { seed: 7, rows: [1, 2] },
    gives: { text },
    store: "json",
    fingerprint: () => hashFile(from),
    run: async (_, run) => {
      run.machine({ adapter: "abacus" });
      await during(run);
      const text = await Deno.readTextFile(from);
      await Deno.writeTextFile(to, text);
      run.artifact(to);
      await Deno.writeTextFile(join(folder, "passing.txt"), "");
      run.artifact(join(folder, "passing.txt"), { isPassing: true });
      return { text };
    },
  });
  const look = defineStep({
    name: "look",
    version: 1,
    needs: { text },
    fingerprint: () => hashFile(to),
    run: () => {},
  });
  return pipeline("copying").use(copy).use(look);
}

Deno.test("a run's record names inputs and outputs by their hashes, seeds, versions and how it ended", () =>
  inNewFolder(async ({ folder }) => {
    await Deno.writeTextFile(join(folder, "in.txt"), "abc");
    const settings = join(folder, "settings.toml"), runFolder = join(folder, "run");
    await Deno.writeTextFile(settings, "");
    const started = { script: "recipe.ts", args: ["--quick"], folders: { output_dir: folder } };
    await copying(folder).run({
      folder: runFolder,
      record: { started, inputs: [settings], exitCodeOf: () => 9 },
    });
    const record = await recordOf(runFolder), [start] = record.starts;
    deepEqual(record.exit, { outcome: "finished", code: 0 });
    deepEqual(record.started, started);
    deepEqual(record.inputs, [
      { path: settings, sizeBytes: 0, sha256: nothing, of: "start" },
      { path: join(folder, "in.txt"), sizeBytes: 3, sha256: abc, of: "copy" },
    ]);
    deepEqual(record.outputs, [
      { path: join(folder, "out.txt"), sizeBytes: 3, sha256: abc, step: "copy", isPassing: false },
      { path: join(folder, "passing.txt"), sizeBytes: 0, sha256: nothing, step: "copy", isPassing: true },
    ]);
    const [copy, look] = record.steps;
    deepEqual([copy.options, copy.version, copy.seeds], [{ loud: true }, "3", { seed: 7, rows: [1, 2] }]);
    deepEqual(copy.product.map(({ path }) => path), ["steps/01-copy/product/product.json"]);
    equal(copy.fingerprint, abc);
    ok(look.needs.text);
    equal(start.machine.adapter, "abacus");
    equal(start.machine.deno, Deno.version.deno);
    deepEqual(start.ran, ["copy", "look"]);
    ok(Date.parse(start.finishedAt!) >= Date.parse(start.startedAt));
  }));

Deno.test("a record says that a run is unfinished while it is at work, stopped where it was, and has both starts in the end", () =>
  inNewFolder(async ({ folder }) => {
    await Deno.writeTextFile(join(folder, "in.txt"), "abc");
    const stop = new AbortController(), runFolder = join(folder, "run");
    const stopped = copying(folder, async ({ signal }) => {
      // What a run that is killed here leaves behind.
      const record = await recordOf(runFolder);
      deepEqual([record.exit, record.starts[0].exit, record.starts[0].finishedAt], [null, null, null]);
      deepEqual(outcomes(record), [["copy", "unfinished"], ["look", "not reached"]]);
      stop.abort();
      signal.throwIfAborted();
    });
    await rejects(stopped.run({ folder: runFolder, signal: stop.signal, record: { exitCodeOf: () => 75 } }));
    const record = await recordOf(runFolder);
    equal(record.exit?.outcome, "stopped");
    equal(record.exit?.code, 75);
    match(record.exit!.message!, /^Interrupted in step 'copy'/);
    deepEqual(record.outputs, []);
    await copying(folder).run({ folder: runFolder });
    const again = await recordOf(runFolder);
    deepEqual(again.starts.map(({ exit }) => exit?.outcome), ["stopped", "finished"]);
    deepEqual(outcomes(again), [["copy", "ran"], ["look", "ran"]]);
    // Nothing is left to do, and what the first runs made is still said.
    await copying(folder).run({ folder: runFolder });
    const third = await recordOf(runFolder);
    deepEqual(outcomes(third), [["copy", "unchanged"], ["look", "unchanged"]]);
    deepEqual(third.outputs, again.outputs);
    deepEqual(third.starts.map(({ ran }) => ran.length), [0, 2, 0]);
  }));

Deno.test("a start that fails before it does anything leaves the record of the run that is there", () =>
  inNewFolder(async (world) => {
    await run(world);
    const before = await Deno.readTextFile(join(world.folder, runRecordName));
    const refusing = recipe(world, { model: "v2" }).use(defineStep({
      name: "refuse",
      plan: () => ({
        check: () => {
          throw new RangeError("no room");
        },
      }),
      run: () => {},
    }));
    await rejects(refusing.run({ folder: world.folder }), { message: "no room" });
    equal(await Deno.readTextFile(join(world.folder, runRecordName)), before);
  }));

Deno.test("a record that is none is refused by its name", () =>
  inNewFolder(async ({ folder }) => {
    const path = join(folder, runRecordName);
    const cases: [string, RegExp][] = [
      ["{", /^SyntaxError: Cannot read .*run\.json: it is no JSON$/],
      ["{}", /its format is not said, must be "dualora-run-1": the run\.json of a run's folder$/],
      ['{"format":"dualora-run-1"}', /a part of it is missing or of another kind$/],
    ];
    for (const [text, message] of cases) {
      await Deno.writeTextFile(path, text);
      await rejects(readRunRecord(path), (error) => message.test(String(error)));
    }
  }));
