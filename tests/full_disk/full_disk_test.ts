import { deepEqual, equal, match, ok } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readEvents } from "../../formats/tensorboard/_test_events.ts";
import { type ExampleResult, resultOf } from "../examples/run_example.ts";
import { inNewFolder } from "../steps/small_training.ts";

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Runs a script of this folder in a working folder whose `disk` has so many megabytes and no more. */
async function onSmallDisk(folder: string, megabytes: number, script?: string): Promise<ExampleResult> {
  const words = ["run", "-A", `--config=${path("../../deno.json")}`, path("./on_small_disk.ts"), `${megabytes}`];
  const config = `--config=${path("../../deno.json")}`;
  return await resultOf(
    new Deno.Command(Deno.execPath(), {
      args: [...words, ...script ? [config, path(script)] : ["--version"]],
      cwd: folder,
      env: { NO_COLOR: "1", DENO_WEBGPU_BACKEND: "vulkan" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn(),
  );
}

/** Whether this system lets a process have a file system of its own. */
const canMount = await (async () => {
  const folder = await Deno.makeTempDir();
  try {
    return (await onSmallDisk(folder, 1)).code !== 99;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
})();
const skipped = canMount ? "" : " (skipped: this system lets no process mount a file system of its own)";

interface Told {
  readonly name: string;
  readonly message: string;
  readonly neededBytes: number | null;
  readonly freeBytes: number | null;
}

interface Result {
  readonly error: Told;
  readonly left: readonly string[];
  readonly again: Told;
  readonly isAsBefore: boolean;
}

/** Megabytes that are written at least; some write more around it. */
const sizeBytes = 2 ** 20;

Deno.test({
  name:
    `a full disk is told with the bytes needed and free by every kind of write, and so is one that is read-only; nothing half-written stays, what was there stays${skipped}`,
  ignore: !canMount,
  fn: () =>
    inNewFolder(async (folder) => {
      const { code, stdout, stderr } = await onSmallDisk(folder, 24, "./writers.ts");
      equal(code, 0, stderr);
      const { results: { logs, ...results }, readOnly }: {
        results: Record<string, Result> & { logs: { error: Told; steps: number } };
        readOnly: Record<string, Told>;
      } = JSON.parse(stdout);
      equal(Object.keys(results).length, 13);
      for (const [what, { error, left, again, isAsBefore }] of Object.entries(results)) {
        for (const each of [error, again]) {
          equal(each.name, "DiskFullError", `${what}: ${each.name}: ${each.message}`);
          ok(each.neededBytes !== null && each.neededBytes >= sizeBytes / 4, `${what} needs ${each.neededBytes}`);
          ok(each.freeBytes !== null && each.freeBytes <= 200_000, `${what} has ${each.freeBytes}`);
          match(
            each.message,
            /^Cannot write \S*disk\/\S+, the disk is full: \d+ bytes are needed, \d+ are free in \S*disk/,
          );
          ok(!/\/\.|\.tmp/.test(each.message), `${what} tells a hidden name: ${each.message}`);
        }
        deepEqual(left, what.startsWith("a step's") ? left.filter((each) => /started\.json/.test(each)) : [], what);
        ok(isAsBefore, `${what} has changed what was there`);
      }
      equal(Object.keys(readOnly).length, 14);
      for (const [what, { name, message }] of Object.entries(readOnly)) {
        equal(name, "NotWritableError", `${what}: ${message}`);
        match(
          message,
          /^Cannot write \S*disk\/[^.]\S+: its file system is read-only; name a folder elsewhere, or mount it /,
        );
        ok(!/\/\.|\.tmp/.test(message), `${what} tells a hidden name: ${message}`);
      }
      equal(logs.error.name, "DiskFullError", logs.error.message);
      const lines = (await readFile(join(folder, "figures.jsonl"), "utf8")).trimEnd().split("\n");
      deepEqual(lines.map((line) => JSON.parse(line).step), lines.map((_, at) => at + 1));
      const curve = readEvents(await readFile(join(folder, "events"))).filter(({ scalars }) =>
        "loss/current" in scalars
      );
      deepEqual(curve.map(({ step }) => step), curve.map((_, at) => at + 1));
      // The disk was full behind one of them, so one may have had room for a step more.
      ok(logs.steps > 1 && [lines.length, curve.length].every((count) => count - logs.steps <= 1));
    }),
});

Deno.test({
  name:
    `a training that finds the disk full says so, leaves what is whole, and goes on to the same bits when there is room${skipped}`,
  ignore: !canMount,
  fn: () =>
    inNewFolder(async (folder) => {
      const { code, stdout, stderr } = await onSmallDisk(folder, 96, "./training.ts");
      equal(code, 0, stderr);
      const { name, message, ...rest } = JSON.parse(stdout);
      equal(name, "DiskFullError", message);
      match(message, /^Cannot write disk\/\S+, the disk is full: \d+ bytes are needed, \d+ are free in disk/);
      const { firstStep, ...others } = rest;
      deepEqual(others, { isSame: true });
      ok(firstStep >= 2, `goes on from step ${firstStep}`);
    }),
});
