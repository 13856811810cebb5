import { deepEqual, equal, match, ok } from "node:assert/strict";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { inNewFolder } from "../steps/small_training.ts";
import { smallRun } from "./kill.ts";
import { checkSameEnd } from "./same_end.ts";
import { prepareFolder, torture } from "./torture.ts";

/** Changes the last byte. */
async function flipByte(path: string): Promise<void> {
  const bytes = await readFile(path);
  bytes[bytes.length - 1] ^= 1;
  await writeFile(path, bytes);
}

Deno.test("a run that is killed ten times at random moments publishes nothing half-written and ends with the same bits", () =>
  inNewFolder(async (folder) => {
    const whole = await prepareFolder(join(folder, "whole")), { code, stderr } = await smallRun(whole);
    equal(code, 0, stderr);
    const { phases } = await torture(folder, whole, 10, 7);
    ok(new Set(phases).size >= 4, `fell into ${phases.join(", ")}`);

    // The newest checkpoint is damaged: that is told, and the one before takes its place.
    const damaged = await prepareFolder(join(folder, "damaged"));
    const { phase } = await smallRun(damaged, { event: /mine-step00000007-state/, milliseconds: 0 });
    ok(phase !== null);
    const work = join(damaged, "run", "steps", "04-train-both-networks", "work");
    const there = (await readdir(work)).filter((name) => name.startsWith("checkpoint-"));
    deepEqual(there.sort(), ["checkpoint-00000004", "checkpoint-00000006"]);
    await flipByte(join(work, "checkpoint-00000006", "state.safetensors"));
    const again = await smallRun(damaged);
    equal(again.code, 0, again.stderr);
    equal(again.warnings.length, 1, again.warnings.join());
    match(
      again.warnings[0],
      /checkpoint-00000006: state\.safetensors is damaged: it is not what was written\. It is passed over$/,
    );
    await checkSameEnd(damaged, whole);
  }));
