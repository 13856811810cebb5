import { equal, ok } from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import sharp from "sharp";
import { SafetensorsFile } from "../../formats/safetensors.ts";
import { readEvents } from "../../formats/tensorboard/_test_events.ts";
import { readState } from "../../steps/outputs/state_folder.ts";

/** Names of files on their way in or out, which nothing reads. */
const isHidden = (name: string) => name.startsWith(".") || name.endsWith(".new");

/** Files of a folder and of those inside, as paths from it; hidden ones are left out, or alone are given. */
export async function filesIn(folder: string, which: "published" | "hidden" = "published"): Promise<string[]> {
  const found: string[] = [];
  const visit = async (path: string, insideHidden: boolean) => {
    for (const entry of await readdir(join(folder, path), { withFileTypes: true })) {
      const child = join(path, entry.name), hidden = insideHidden || isHidden(entry.name);
      if (entry.isDirectory()) await visit(child, hidden);
      else if (hidden === (which === "hidden")) found.push(child);
    }
  };
  if (await stat(folder).catch(() => null)) await visit("", false);
  return found.sort();
}

/**
 * Reads every file that lies under a name that is not hidden, in all folders of a small run, to its end.
 *
 * @returns Logs whose last line a kill has cut off: they grow, and a run that goes on begins new ones.
 * @throws If another file is not whole, holds a number that is not finite, or is of no known kind.
 */
export async function checkPublished(folder: string): Promise<string[]> {
  const cut: string[] = [];
  for (const part of ["out", "latents", "logs", "logs_first", "run"]) {
    for (const path of await filesIn(join(folder, part))) {
      const whole = join(folder, part, path);
      try {
        if (await checkFile(whole) === "cut") cut.push(whole);
      } catch (error) {
        throw new Error(`${whole} is not whole: ${(error as Error).message}`, { cause: error });
      }
    }
  }
  for (const path of await filesIn(join(folder, "out"))) {
    if (basename(path) === "manifest.json") await readState(join(folder, "out", path, ".."));
  }
  return cut;
}

async function checkFile(path: string): Promise<"whole" | "cut"> {
  const name = basename(path);
  if (name === "run.lock") return "whole";
  if (name.endsWith(".safetensors")) await checkTensors(path);
  else if (name.endsWith(".png")) await sharp(path, { failOn: "warning" }).raw().toBuffer();
  else if (name.endsWith(".jsonl")) return checkLines(await readFile(path, "utf8"));
  else if (name.startsWith("events.out.tfevents.")) return checkEvents(await readFile(path));
  else if (name.endsWith(".json")) JSON.parse(await readFile(path, "utf8"));
  else throw new Error("what is it?");
  return "whole";
}

async function checkTensors(path: string): Promise<void> {
  await using file = await SafetensorsFile.open(path);
  for (const { name, type } of file.tensors.values()) {
    if (type === "F32") {
      ok((await file.float32(name)).every(Number.isFinite), `${name} has a number that is not finite`);
    }
  }
  // Of LoRA files: SHA-256 of all tensors' bytes.
  const hash = file.metadata?.get("sshs_model_hash"), bytes = await readFile(path);
  if (hash) equal(createHash("sha256").update(bytes.subarray(8 + Number(bytes.readBigUInt64LE()))).digest("hex"), hash);
}

function checkLines(text: string): "whole" | "cut" {
  const lines = text.split("\n"), last = lines.pop();
  for (const line of lines) JSON.parse(line);
  return last === "" ? "whole" : "cut";
}

/** TensorBoard's reader waits for the rest of a record that is cut off. */
function checkEvents(bytes: Uint8Array): "whole" | "cut" {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = 0;
  while (end + 12 <= bytes.length) {
    const next = end + 16 + Number(view.getBigUint64(end, true));
    if (next > bytes.length) break;
    end = next;
  }
  equal(readEvents(bytes.subarray(0, end))[0]?.version, "brain.Event:2");
  return end === bytes.length ? "whole" : "cut";
}
