import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { cp, truncate } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { needsState, startingHash, trainingFingerprint } from "../../steps/outputs/resumed_state.ts";
import { readStateMark, StateError, writeState } from "../../steps/outputs/state_folder.ts";
import { startScript } from "../examples/run_example.ts";
import { resumedRun } from "./resumed_run.ts";
import { inNewFolder, keptNetwork, runRecorded, smallData } from "./small_training.ts";

Deno.test("a run that has replaced the state it was started from, and is killed, goes on by the same command to the same bits", () =>
  inNewFolder(async (folder) => {
    const path = (name: string) => join(folder, name), out = path("out"), run = { folder: path("run") };
    await smallData(folder);
    equal((await runRecorded(resumedRun(null, 1, folder, out), { folder: path("first") })).error, null);
    const copied = path("copied-state"), state = join(out, "mine-state");
    await cp(state, copied, { recursive: true });
    const undisturbed = resumedRun({ state: copied }, 3, folder, path("elsewhere"));
    equal((await runRecorded(undisturbed, { folder: path("whole") })).error, null);

    const script = fileURLToPath(new URL("./resumed_run.ts", import.meta.url));
    const child = startScript(script, folder, { args: [state, "3", folder, out, run.folder] });
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    equal((await reader.read()).value, "written\n");
    child.kill("SIGKILL");
    await Promise.all([reader.cancel(), child.stderr.cancel(), child.status]);
    ok((await readStateMark(state)).hash !== (await readStateMark(copied)).hash);

    const recipe = resumedRun({ state }, 3, folder, out);
    // What the command line looks at before it runs.
    ok((await recipe.describe(run)).steps.every(({ unplanned }) => unplanned === undefined));
    const { error, events, ran } = await runRecorded(recipe, run);
    equal(error, null);
    deepEqual(ran, ["load bases", "read data", "cache latents", "freeze network 1", "train network 2"]);
    deepEqual(events.filter(({ type }) => type === "warning"), []);
    const [made, whole] = await Promise.all(
      [run.folder, path("whole")].map((each) => keptNetwork(each, "train-network-2", "network2")),
    );
    deepEqual(made, whole);
    // Nothing is to do any more, even without the state.
    for (const remove of [false, true]) {
      if (remove) await Deno.remove(state, { recursive: true });
      ok((await recipe.describe(run)).steps.every(({ unplanned }) => unplanned === undefined));
      const { ran, error } = await runRecorded(recipe, run);
      deepEqual([ran, error], [[], null]);
    }
  }));

Deno.test("the state a training was started from is known again where the training itself replaced or removed it, and no other one is", () =>
  inNewFolder(async (folder) => {
    const state = join(folder, "mine-state");
    const write = (step: number, from?: string) =>
      writeState(state, {
        content: {
          state: { step, skipped: { total: 0, inRow: 0 }, networks: [{ weights: new Float32Array(2), optimizer: {} }] },
          log: [],
        },
        facts: { networks: [], settings: {} },
        from,
      });
    await rejects(startingHash(state, undefined), StateError);
    await write(1);
    const first = await startingHash(state, undefined);
    equal(await startingHash(state, first), first);
    const begun = { options: { resume: state }, fingerprint: ["of weights", first] };
    const asBegun = async (options: { resume: string }, earlier: typeof begun | undefined) => [
      (await trainingFingerprint(options, earlier))[0] === first,
      await needsState(options, earlier),
    ];
    deepEqual(await asBegun({ resume: state }, undefined), [true, true]);
    deepEqual(await asBegun({ resume: state }, begun), [true, false]);
    // By a training that began with it; damaged after that; removed.
    await write(2, first);
    deepEqual(await asBegun({ resume: state }, begun), [true, false]);
    deepEqual(await asBegun({ resume: state }, undefined), [false, true]);
    await truncate(join(state, "manifest.json"), 5);
    deepEqual(await asBegun({ resume: state }, begun), [true, false]);
    await Deno.remove(state, { recursive: true });
    deepEqual(await asBegun({ resume: state }, begun), [true, false]);
    // Another folder's start says nothing of this one; and somebody has put another state there.
    await rejects(
      asBegun({ resume: state }, { ...begun, options: { resume: join(folder, "other-state") } }),
      StateError,
    );
    await write(3);
    deepEqual(await asBegun({ resume: state }, begun), [false, true]);
    await write(3, "another one's");
    deepEqual(await asBegun({ resume: state }, begun), [false, true]);
  }));
