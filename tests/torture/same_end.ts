import { Buffer } from "node:buffer";
import { deepEqual, ok } from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { readEvents } from "../../formats/tensorboard/_test_events.ts";
import { filesIn } from "./published.ts";

/**
 * Checks that a run that was killed has left what the run that never stopped has: files of networks, states with weights, optimizers and every figure,
 * pictures, latents and the products in the run folder byte for byte, and logs with the same lines and curves. Only what says when it was made may differ.
 */
export async function checkSameEnd(killed: string, whole: string): Promise<void> {
  for (const part of ["out", "latents", "run/steps"]) {
    const [found, wanted] = await Promise.all([killed, whole].map((run) => contents(join(run, part))));
    deepEqual([...found.keys()].sort(), [...wanted.keys()].sort(), `files in ${part}`);
    for (const [path, all] of wanted) {
      const [one] = all;
      // A picture that was made twice has two times in its name.
      for (const other of [...all, ...found.get(path)!]) ok(one.equals(other), `${part}/${path} differs`);
    }
  }
  deepEqual(await lastLogs(killed), await lastLogs(whole), "logs");
}

/** Contents by path; times in names and in metadata are taken out. */
async function contents(folder: string): Promise<Map<string, Buffer[]>> {
  const found = new Map<string, Buffer[]>();
  for (const path of await filesIn(folder)) {
    // Seconds that a step took stand there, and its inputs' hash where the run lies.
    if (/^\d+-[\w-]+\/(manifest|started)\.json$/.test(path)) continue;
    const name = path.replace(/(?<=sample\/.*_)\d{14}(?=_)/, "time");
    found.set(name, [...found.get(name) ?? [], timeless(path, await readFile(join(folder, path)))]);
  }
  return found;
}

/** A LoRA file without what says when it was trained, and without the hash of the metadata that say it. */
function timeless(path: string, bytes: Buffer): Buffer {
  if (!/^(mine|other|first)[^/]*\.safetensors$/.test(basename(path))) return bytes;
  const end = 8 + Number(bytes.readBigUInt64LE()), text = bytes.toString("utf8", 8, end).trimEnd();
  const without = text.replace(/"(ss_training_(started|finished)_at|sshs_legacy_hash)":"[^"]*",?/g, "");
  return Buffer.concat([Buffer.from(without), bytes.subarray(end)]);
}

/** What the last start of each training has logged. */
async function lastLogs(run: string) {
  const folders = (await readdir(run)).filter((name) => name.startsWith("logs"));
  return await Promise.all(folders.map(async (name) => {
    const [last] = (await readdir(join(run, name))).sort(byStart).slice(-1), folder = join(run, name, last);
    const networks = (await readdir(folder)).filter((name) => name.startsWith("network_train"));
    const curves = networks.map(async (name) => {
      const [file] = await readdir(join(folder, name));
      return readEvents(await readFile(join(folder, name, file))).map(({ wallTime: _, ...event }) => event);
    });
    return { name, lines: await readFile(join(folder, "figures.jsonl"), "utf8"), curves: await Promise.all(curves) };
  }));
}

/** Folders are called `<time>`, those of a second start in the same second `<time>_2`. */
function byStart(one: string, other: string): number {
  const [[a, k = "1"], [b, n = "1"]] = [one, other].map((name) => name.split("_"));
  return a === b ? Number(k) - Number(n) : a < b ? -1 : 1;
}
