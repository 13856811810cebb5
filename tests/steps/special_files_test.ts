import { equal, match, ok } from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { readSettingsFile } from "../../cli/settings/settings_file.ts";
import { flagsByName } from "../../cli/flags/table.ts";
import { readMetadataFile } from "../../data/metadata_file.ts";
import { readLora } from "../../formats/lora_file.ts";
import { readNpz } from "../../formats/npz.ts";
import { openTensorFile } from "../../formats/open_tensor_file.ts";
import * as d from "../../mod.ts";
import { Tokenizer } from "../../models/clip/tokenizer.ts";
import { readConfigJson } from "../../models/config_reader.ts";
import { hashFile } from "../../pipeline/mod.ts";
import { readDatasetConfig } from "../../steps/dataset_config/read_dataset_config.ts";
import { readPromptFile } from "../../steps/outputs/prompt_file.ts";
import { readStateFacts } from "../../steps/outputs/state_folder.ts";
import { readRegions } from "../../steps/report/regions.ts";
import { inNewFolder, smallData } from "./small_training.ts";

/** Makes named pipes, in a process that may start others; whether this system can. */
async function makePipes(paths: readonly string[]): Promise<boolean> {
  for (const path of paths) await mkdir(dirname(path), { recursive: true });
  const code = "Deno.exit((await new Deno.Command('mkfifo', { args: Deno.args }).output()).code)";
  return (await new Deno.Command(Deno.execPath(), { args: ["eval", code, ...paths] }).output()).code === 0;
}

/** What an error says; or that there was none, or no end. */
async function saidWithin(seconds: number, work: Promise<unknown>): Promise<string> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<string>((done) => timer = setTimeout(done, seconds * 1000, "it hangs"));
  const said = await Promise.race([work.then(() => "it was read", (error: Error) => error.message), late]);
  clearTimeout(timer);
  return said;
}

const readers: Readonly<Record<string, (path: string) => Promise<unknown>>> = {
  "a.safetensors": openTensorFile,
  "a.ckpt": openTensorFile,
  "lora.safetensors": readLora,
  "a.npz": (path) => readNpz(path, ["latents"]),
  "prompts.txt": readPromptFile,
  "data.toml": readDatasetConfig,
  "settings.toml": (path) => readSettingsFile(path, flagsByName),
  "metadata.json": (path) => readMetadataFile(path),
  "config.json": readConfigJson,
  "regions.json": readRegions,
  "tokens/vocab.json": (path) => Tokenizer.fromFolder(dirname(path)),
  "a-state/manifest.json": (path) => readStateFacts(dirname(path)),
  "any file that is hashed": hashFile,
};

Deno.test({
  name:
    "a named pipe in the place of a file is refused by its name, by every reader of what users name, and none waits for it",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inNewFolder(async (folder) => {
      const path = (name: string) => join(folder, name);
      ok(await makePipes(Object.keys(readers).map(path)), "this system has mkfifo");
      for (const [name, read] of Object.entries(readers)) {
        const said = await saidWithin(5, read(path(name)));
        match(said, /it is a named pipe, must be a file/, `${name}: ${said}`);
        ok(said.includes(path(name)), said);
      }
      // A device that never ends.
      match(await saidWithin(5, hashFile("/dev/zero")), /^Cannot read \/dev\/zero: it is a device, must be a file$/);
    }),
});

Deno.test("a folder in the place of a file is refused by its name, by every reader of what users name", () =>
  inNewFolder(async (folder) => {
    for (const [name, read] of Object.entries(readers)) {
      const path = join(folder, name);
      await mkdir(path, { recursive: true });
      const said = await saidWithin(5, read(path));
      match(said, /it is a folder/, `${name}: ${said}`);
      ok(said.includes(path), said);
    }
  }));

Deno.test({
  name:
    "a named pipe among the pictures or captions of a data folder is refused by its name before a run; a hidden one is passed over",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inNewFolder(async (folder) => {
      const { network1 } = await smallData(folder), pictures = join(network1.train, "1_sks person");
      const describe = () =>
        d.pipeline("piped").use(d.readDreambooth({ network1, resolution: 64, batchSize: 1 })).describe();
      ok(await makePipes([join(pictures, ".hidden.png")]));
      equal((await describe()).steps.length, 1);
      for (const name of ["more.png", "000.txt"]) {
        const path = join(pictures, name);
        await Deno.remove(path).catch(() => {});
        ok(await makePipes([path]));
        const said = await saidWithin(5, describe());
        match(said, new RegExp(`1_sks person: \\S.*${name} in it is a named pipe; take it away`));
        await Deno.remove(path);
      }
      await writeFile(join(pictures, "000.txt"), "a caption");
      equal((await describe()).steps.length, 1);
    }),
});
