import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { cp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readState } from "../../steps/outputs/state_folder.ts";
import { inNewFolder } from "../steps/small_training.ts";
import { smallRun } from "./kill.ts";
import { checkPublished } from "./published.ts";
import { checkSameEnd } from "./same_end.ts";
import { prepareFolder, torture, wholeRun } from "./torture.ts";

/** Changes the last byte. */
async function flipByte(path: string): Promise<void> {
  const bytes = await readFile(path);
  bytes[bytes.length - 1] ^= 1;
  await writeFile(path, bytes);
}

/** The checkpoints of the training, by step, with what is still to be done behind that. */
async function checkpoints(run: string): Promise<[number, readonly string[]][]> {
  const work = join(run, "run", "steps", "04-train-both-networks", "work");
  const names = (await readdir(work)).filter((name) => name.startsWith("checkpoint-")).sort();
  return await Promise.all(names.map(async (name) => {
    const { content, owed } = await readState(join(work, name));
    return [content.state.step, owed!] as [number, readonly string[]];
  }));
}

Deno.test("what ends a run costs it nothing but time", (t) =>
  inNewFolder(async (folder) => {
    const both = await wholeRun(join(folder, "whole"), "both"), whole = both.folder;

    await t.step(
      "killed ten times at random moments, it publishes nothing half-written and ends with the same bits, as does network 2 behind network 1",
      async () => {
        const chain = await wholeRun(join(folder, "chain"), "chain");
        const ended = [await torture(folder, both, 6, 7), await torture(folder, chain, 4, 7)];
        const phases = ended.flatMap(({ phases }) => phases);
        ok(new Set(phases).size >= 4, `fell into ${phases.join(", ")}`);
      },
    );

    const run = await prepareFolder(join(folder, "stopped"), null);
    await t.step({
      name: "SIGUSR2, SIGTERM and two SIGINT end it with 75 in time, and it loses no step",
      // Windows cannot send a signal to one process.
      ignore: Deno.build.os === "windows",
      fn: async () => {
        const stop = async (event: RegExp, ...signals: Deno.Signal[]) => {
          const { code, seconds, stderr } = await smallRun(run, "both", { event, milliseconds: 0, signals });
          equal(code, 75, stderr);
          match(stderr, /^Stopping as soon as the work is saved; press Ctrl-C (again )?to stop at once\n/);
          ok(seconds < 30, `took ${seconds} s`);
          await checkPublished(run);
          return await checkpoints(run);
        };
        // In the middle of its first step. Schedulers send SIGTERM behind SIGUSR2: the work is saved all the same.
        deepEqual(await stop(/"compiling"/, "SIGUSR2", "SIGTERM"), [[1, ["files"]]]);
        // In the middle of pictures.
        deepEqual(await stop(/mine-step00000004-state/, "SIGINT"), [[2, []], [4, ["pictures"]]]);
        // Twice: what was saved before is there.
        ok((await stop(/"compiling"/, "SIGINT", "SIGINT")).at(-1)![0] >= 4);
      },
    });

    await t.step(
      "with its newest checkpoint damaged it says so and goes on from the one before; what stops left off is made up for",
      async () => {
        await smallRun(run, "both", { event: /mine-step00000007-state/, milliseconds: 0 });
        // One of step 5 is there where the first of two SIGINT was faster.
        const [[before], newest] = await checkpoints(run);
        ok(before === 4 || before === 5, `${before}`);
        deepEqual(newest, [6, []]);
        const path = join(run, "run", "steps", "04-train-both-networks", "work", "checkpoint-00000006");
        await flipByte(join(path, "state.safetensors"));
        const { code, stderr, warnings } = await smallRun(run, "both");
        equal(code, 0, stderr);
        equal(warnings.length, 1, warnings.join());
        match(
          warnings[0],
          /checkpoint-00000006: state\.safetensors is damaged: it is not what was written\. It is passed/,
        );
        await checkSameEnd(run, whole);
      },
    );

    await t.step("what is checked after a kill and at the end finds each kind of damage", async () => {
      const latents = (await readdir(join(whole, "latents")))[0], logs = (await readdir(join(whole, "logs")))[0];
      const sample = (await readdir(join(whole, "out", "sample")))[0], cut = (path: string) => truncate(path, 50);
      const half: [string, (path: string) => Promise<void>][] = [
        ["out/mine.safetensors", cut],
        ["out/other.safetensors", flipByte],
        ["out/mine-state/state.safetensors", flipByte],
        ["out/mine-state/manifest.json", cut],
        [`out/sample/${sample}`, cut],
        [`latents/${latents}`, cut],
        ["run/steps/04-train-both-networks/manifest.json", cut],
        [`logs/${logs}/unknown`, (path) => writeFile(path, "")],
      ];
      const damaged = async ([path, damage]: typeof half[number]) => {
        const copy = join(folder, "copy");
        await rm(copy, { recursive: true, force: true });
        await cp(whole, copy, { recursive: true });
        await damage(join(copy, path));
        return copy;
      };
      for (const each of half) {
        await rejects(checkPublished(await damaged(each)), /is not whole|is damaged|what is it/, each[0]);
      }
      const line = `logs/${logs}/figures.jsonl`;
      deepEqual(await checkPublished(await damaged([line, cut])), [join(folder, "copy", line)]);
      await checkSameEnd(
        await damaged([line, () => Promise.resolve()]),
        whole,
      );
      const others: typeof half = [
        [line, cut],
        [`latents/${latents}`, flipByte],
        ["out/mine-state/state.safetensors", flipByte],
        ["run/steps/04-train-both-networks/product/network2/weights.safetensors", flipByte],
        ["out/other-step00000008.safetensors", (path) => rm(path)],
        [`out/sample/${sample}`, flipByte],
      ];
      for (const each of others) {
        await rejects(checkSameEnd(await damaged(each), whole), { name: "AssertionError" }, each[0]);
      }
    });
  }));
