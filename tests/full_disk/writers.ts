/**
 * Tries every kind of write on a disk that is full, in the folder `disk`: first with nothing there, then over an old file. Prints what came of each as JSON.
 * The folder is a small file system of its own, mounted by whoever starts this.
 *
 * @module
 */
import { copyFile, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { LatentCache } from "../../data/latent_cache.ts";
import { writeFileAtomically } from "../../formats/atomic_file.ts";
import { writeLora } from "../../formats/lora_file.ts";
import { writeSafetensors } from "../../formats/safetensors.ts";
import { makeFolder } from "../../formats/write_errors.ts";
import { writeTorchCheckpoint } from "../../formats/torch_checkpoint/writer.ts";
import { StepFolder } from "../../pipeline/step_folder.ts";
import { mergeLoras, mergeLorasIntoBase } from "../../steps/lora_tools/merge.ts";
import { resizeLora } from "../../steps/lora_tools/resize.ts";
import { convertLora } from "../../steps/lora_tools/convert.ts";
import { LogOutput } from "../../steps/outputs/logs.ts";
import { writeNewFile } from "../../steps/outputs/new_file.ts";
import { writeState } from "../../steps/outputs/state_folder.ts";
import { saveNetwork } from "../../steps/values/network.ts";
import { fill } from "./fill.ts";

const disk = join(Deno.cwd(), "disk"), megabyte = 2 ** 20, filler = join(disk, "filler");
const numbers = Float32Array.from({ length: megabyte / 4 }, (_, i) => Math.sin(i));
const bytes = new Uint8Array(numbers.buffer);
const tensor = { name: "a", type: "F32" as const, shape: [numbers.length], bytes };
const lora = {
  name: "lora_unet_down_blocks_0_attentions_0_proj_in",
  alpha: 1,
  down: { shape: [4, 32, 1, 1], values: numbers.slice(0, 128) },
  up: { shape: [32, 4, 1, 1], values: numbers.slice(0, 128) },
};
const wide = {
  name: "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
  alpha: 1,
  down: { shape: [16, 8192], values: numbers.slice(0, 2 ** 17) },
  up: { shape: [8192, 16], values: numbers.slice(0, 2 ** 17) },
};
await writeLora("small.safetensors", [lora]);
await writeLora("wide.safetensors", [wide]);
const noise = await sharp(bytes.map((_, i) => 2 ** 20 * Math.sin(i * i) % 256), {
  raw: { width: 1024, height: 1024, channels: 1 },
}).png().toBuffer();
const state = {
  content: {
    state: { step: 1, skipped: { total: 0, inRow: 0 }, networks: [{ weights: numbers, optimizer: { m: numbers } }] },
    log: [],
  },
  facts: { networks: [], settings: {} },
};
const network = { options: { rank: 1 }, weights: numbers, log: [], settings: {} };
const key = "0".repeat(64);
const inputs = { step: "a", version: "1", options: {}, fingerprint: null, needs: {}, gives: [], stored: true };

/** What is written, and how. */
const writers: Readonly<Record<string, (folder: string) => Promise<unknown>>> = {
  safetensors: (folder) => writeSafetensors(join(folder, "a.safetensors"), [tensor]),
  ".pt": (folder) => writeTorchCheckpoint(join(folder, "a.pt"), [tensor]),
  "a state": (folder) => writeState(join(folder, "a-state"), state),
  "cached latents": (folder) =>
    new LatentCache({ folder }).put(key, { mean: { shape: [numbers.length], values: numbers } }),
  "a picture": (folder) => writeFileAtomically(join(folder, "a.png"), [noise]),
  "a report": (folder) => writeFileAtomically(join(folder, "report.html"), [bytes]),
  "a network in a step's folder": (folder) => saveNetwork(network, folder),
  "a step's product and manifest": async (folder) => {
    const step = new StepFolder(join(folder, "01-a"));
    await step.begin(inputs, {});
    await step.commit({
      inputs,
      artifacts: [],
      seconds: 1,
      save: (inside) => writeFileAtomically(join(inside, "a"), [bytes]),
    });
  },
  "merged LoRA files": (folder) =>
    mergeLoras([{ file: "wide.safetensors", ratio: 1 }], join(folder, "a.safetensors"), {}),
  "a resized LoRA file": (folder) =>
    resizeLora("wide.safetensors", join(folder, "a.safetensors"), { rank: 16, precision: "float" }),
  "a converted LoRA file": (folder) =>
    convertLora("wide.safetensors", join(folder, "a.safetensors"), { alpha: "keep" }),
  "a merged base": (folder) =>
    mergeLorasIntoBase("toy", [{ file: "small.safetensors", ratio: 1 }], join(folder, "base")),
  settings: (folder) => writeNewFile(join(folder, "a.toml"), "settings", "#".repeat(megabyte)),
};

/** All that lies in the folder but the filler, with hashes of content. */
async function lying(): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(disk, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || path === filler) continue;
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await readFile(path)));
    found.push(`${path.slice(disk.length + 1)} ${digest.toHex().slice(0, 16)}`);
  }
  return found.sort();
}

function told(error: unknown) {
  const { name, message, neededBytes = null, freeBytes = null } = error as Record<string, unknown>;
  return { name, message, neededBytes, freeBytes };
}

/** What a write says that cannot be done. */
async function toldBy(write: (folder: string) => Promise<unknown>) {
  return told(await write(disk).then(() => new Error("It was written"), (error) => error));
}

const results: Record<string, unknown> = {};
for (const [what, write] of Object.entries(writers)) {
  fill(disk, 200_000);
  const error = await toldBy(write), left = await lying();
  await rm(filler);
  // With room it can be written, and then again over what is there.
  await write(disk);
  const before = await lying();
  fill(disk, 200_000);
  // These two never replace what is there.
  const again = ["settings", "a merged base"].includes(what) ? error : await toldBy(write);
  const after = await lying();
  results[what] = { error, left, again, isAsBefore: JSON.stringify(before) === JSON.stringify(after) };
  for (const name of await readdir(disk)) await rm(join(disk, name), { recursive: true });
}

// Logs grow: what does not fit is left out whole.
{
  const run = { artifact: () => {} } as never, values = { loss_1: 1, norm_1: 1 };
  const logs = await LogOutput.open({ folder: disk }, { numbers: [1], stepsPerEpoch: 9, totalSteps: 9, run });
  await logs.figures([{ step: 0, epoch: 0, values }]);
  fill(disk, 0);
  let error: unknown = null, step = 1;
  // The last block of a file has room for some more.
  while (!error && step < 10_000) {
    await logs.figures([{ step, epoch: 0, values }]).then(() => step++, (thrown) => error = thrown);
  }
  await logs.close();
  const [start] = (await readdir(disk)).filter((name) => name !== "filler");
  const curves = join(disk, start, "network_train"), [events] = await readdir(curves);
  await copyFile(join(disk, start, "figures.jsonl"), "figures.jsonl");
  await copyFile(join(curves, events), "events");
  results.logs = { error: told(error), steps: step };
}

// Nothing may be written there.
for (const name of await readdir(disk)) await rm(join(disk, name), { recursive: true });
const { code } = await new Deno.Command("mount", { args: ["-o", "remount,ro", disk] }).output();
if (code !== 0) throw new Error("the file system cannot be made read-only");
const readOnly: Record<string, unknown> = { "a folder": await toldBy((folder) => makeFolder(join(folder, "new"))) };
for (const [what, write] of Object.entries(writers)) readOnly[what] = await toldBy(write);
console.log(JSON.stringify({ results, readOnly }));
