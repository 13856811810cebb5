import { deepEqual, equal, match, ok } from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, extname, join } from "node:path";
import sharp from "sharp";
import { writeSafetensors } from "../../formats/safetensors.ts";
import { writeTorchCheckpoint } from "../../formats/torch_checkpoint/writer.ts";
import { ldmCheckpoint, toyBase, toyTensors } from "../models/checkpoint_files.ts";
import { runLine } from "../original/run_line.ts";
import { inNewFolder } from "../steps/small_training.ts";

type Rows = readonly (readonly [file: string, width: number, height: number, caption: string | null])[];

const golden = async (name: string) =>
  JSON.parse(await readFile(new URL(`../golden/files/${name}.json`, import.meta.url), "utf8"));
const { data } = await golden("metadata"), { flags, sd_scripts_0_6_4 } = await golden("metadata_run");

/** The pictures and captions that sd-scripts had for the golden. */
async function drawData(root: string): Promise<void> {
  const { note: _, ...folders } = data as Record<string, Record<string, Rows>>;
  for (const [top, subfolders] of Object.entries(folders)) {
    await mkdir(join(root, top), { recursive: true });
    for (const [name, rows] of Object.entries(subfolders)) {
      const folder = join(root, top, name);
      await mkdir(folder);
      for (const [file, width, height, caption] of rows) {
        const picture = sharp({ create: { width, height, channels: 3, background: { r: 10, g: 20, b: 30 } } });
        await picture.toFile(join(folder, file));
        if (caption) await writeFile(join(folder, file.replace(extname(file), ".txt")), `${caption}\n`);
      }
    }
  }
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** sd-scripts' `model_hash` and `calculate_sha256` of a file. */
async function hashesOf(path: string, what: string): Promise<Record<string, string>> {
  const bytes = await readFile(path);
  return {
    [`ss_${what}_hash`]: sha256(bytes.subarray(0x100000, 0x110000)).slice(0, 8),
    [`ss_new_${what}_hash`]: sha256(bytes),
  };
}

Deno.test("a training of two networks saves for each, key for key, what sd-scripts says of a training of it alone", () =>
  inNewFolder(async (root) => {
    await drawData(root);
    const base = join(root, "MODELS/base.safetensors"), vae = join(root, "MODELS/vae.pt");
    await mkdir(dirname(base));
    await writeSafetensors(base, await ldmCheckpoint());
    await writeTorchCheckpoint(vae, await toyTensors("vae"));
    const placed = (words: readonly string[]) =>
      words.filter((word) => !word.startsWith("--output_dir="))
        .map((word) => word.replace(/=(DATA|MODELS|LOGS)/, `=${root}/$1`));
    const [one, two] = [flags.network_1, flags.network_2].map(placed), own = two.slice(one.length);
    deepEqual(two.slice(0, one.length), one);
    const second = own.map((word) => word.replace("=", "_2="));
    const { loras, files } = await runLine(root, [...one, ...second, `--base_config=${toyBase}`]);

    // What a file says of models is of these files; the rest of what may differ is checked for its form.
    const models = { ...await hashesOf(base, "sd_model"), ...await hashesOf(vae, "vae") };
    const sessions = new Set<string>();
    for (const [name, wanted] of [["mine", sd_scripts_0_6_4.network_1], ["mine_2", sd_scripts_0_6_4.network_2]]) {
      const {
        ss_session_id,
        ss_training_started_at,
        ss_training_finished_at,
        ss_sd_scripts_commit_hash,
        sshs_model_hash,
        sshs_legacy_hash,
        ...found
      } = Object.fromEntries(loras[name].metadata);
      const { ss_session_id: _1, ss_training_started_at: _2, ss_sd_scripts_commit_hash: _3, ...rest } = wanted;
      deepEqual(found, {
        ...rest,
        ...models,
        ss_output_name: name,
        // Its later releases' key, and what it adds when it saves.
        ss_base_model_version: "sd_v1",
        ss_steps: "1",
        ss_epoch: "1",
      });

      match(ss_session_id, /^\d{1,10}$/);
      ok(Number(ss_session_id) < 2 ** 32);
      sessions.add(ss_session_id);
      for (const time of [ss_training_started_at, ss_training_finished_at]) {
        match(time, /^1[6-9]\d{8}\.\d{1,7}$|^2\d{9}\.\d{1,7}$/);
      }
      ok(Number(ss_training_finished_at) >= Number(ss_training_started_at));
      equal(ss_sd_scripts_commit_hash, "(unknown)");
      // SHA-256 of what follows the header, as hashlib has it of the file's bytes.
      const bytes = files[name],
        header = 8 + Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
      equal(sshs_model_hash, sha256(bytes.subarray(header)));
      match(sshs_legacy_hash, /^[0-9a-f]{8}$/);
    }
    equal(sessions.size, 1);
  }));
