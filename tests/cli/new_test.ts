import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { type Answers, writeAnswers } from "../../cli/new/answers.ts";
import { askAndWrite } from "../../cli/new/questions.ts";
import { inNewFolder, runCommand } from "../examples/run_example.ts";
import { settingsOfLine } from "./parse_line.ts";

const enter = "\r", down = "\x1b[B", clear = "\x15";

/** Answers each question as it appears; gives what was shown. */
async function talk(answers: readonly (readonly [question: string, keys: string])[]): Promise<string> {
  const input = new PassThrough(), output = new PassThrough();
  let shown = "", at = 0;
  output.on("data", (bytes) => {
    shown += bytes;
    // The next question is new text: what was shown before does not count again.
    while (at < answers.length && shown.slice(seen).includes(answers[at][0])) {
      seen = shown.length;
      const keys = answers[at++][1];
      setTimeout(() => input.write(keys), 20);
    }
  });
  let seen = 0;
  await askAndWrite({ input, output });
  equal(at, answers.length, `${answers[at]?.[0]} was not asked`);
  return shown;
}

Deno.test("new asks about two networks and writes a recipe that describes itself", () =>
  inNewFolder(async (folder) => {
    const one = join(folder, "one"), two = join(folder, "two"), path = join(folder, "recipe.ts");
    for (const each of [one, two]) await mkdir(each);
    const shown = await talk([
      ["What do you train?", enter],
      ["Base model", enter],
      ["Pictures of network 1", join(folder, "none") + enter],
      ["none is not there", clear + one + enter],
      ["Pictures of network 2", two + enter],
      ["In which order?", enter],
      ["Ending of the caption files", enter],
      ["Size of the pictures", enter],
      ["Steps of each training", clear + "0" + enter],
      ["It must be a whole number above 0", clear + "30" + enter],
      ["Rank of the networks", enter],
      ["Folder for the LoRA files", clear + join(folder, "out") + enter],
      ["Name of the first file", clear + "clothes" + enter],
      ["What shall be written?", enter],
      ["File", clear + path + enter],
    ]);
    ok(shown.includes(`deno run -A tools/launch.ts ${path}`));
    const script = await readFile(path, "utf8");
    match(script, /^import \* as d from "\.\.\/.*mod\.ts";$/m);
    match(script, /pretrainNetwork1\([^]*steps: 30,[^]*freezeNetwork1\(\{ mode: "full" \}\)[^]*trainNetwork2\(/);
    match(script, /names: \{ network1: "clothes", network2: "clothes_2" \}/);
  }));

Deno.test("new asks about one network and writes settings that train takes", () =>
  inNewFolder(async (folder) => {
    const path = join(folder, "training.toml");
    await talk([
      ["What do you train?", down + enter],
      ["Base model", enter],
      ["Pictures of the network", folder + enter],
      ["Ending of the caption files", clear + "txt" + enter],
      ["It must be a dot and letters", clear + ".tags" + enter],
      ["Size of the pictures", clear + "192" + enter],
      ["Steps of each training", enter],
      ["Rank of the networks", enter],
      ["Folder for the LoRA files", enter],
      ["Name of the first file", enter],
      ["What shall be written?", down + enter],
      ["File", clear + path + enter],
    ]);
    const { values, isPair } = await settingsOfLine([`--config_file=${path}`]);
    equal(isPair, false);
    const { resolution, train_data_dir, caption_extension, learning_rate, network_dim, lr_scheduler } = values;
    deepEqual({ resolution, train_data_dir, caption_extension, learning_rate, network_dim, lr_scheduler }, {
      resolution: "192",
      train_data_dir: folder,
      caption_extension: ".tags",
      learning_rate: 1e-4,
      network_dim: 16,
      lr_scheduler: "cosine",
    });
  }));

Deno.test("new writes nothing when the questions are cancelled", () =>
  inNewFolder(async (folder) => {
    await rejects(talk([["What do you train?", "\x03"]]), {
      name: "UsageError",
      message: "The questions were not answered to the end",
    });
    deepEqual([...Deno.readDirSync(folder)], []);
  }));

Deno.test("new leaves with 2 where there is no terminal", () =>
  inNewFolder(async (folder) => {
    const { code, stdout, stderr } = await runCommand(["new"], folder);
    deepEqual([code, stdout], [2, ""]);
    match(stderr, /^deno task new asks questions and needs a terminal; without one, /);
  }));

Deno.test("new never writes over a file", () =>
  inNewFolder(async (folder) => {
    for (const kind of ["recipe", "settings"] as const) {
      const path = join(folder, kind);
      await writeFile(path, "mine");
      const answers: Answers = {
        base: "toy",
        pictures: "a",
        captions: ".txt",
        resolution: 128,
        steps: 1,
        rank: 1,
        output: "out",
        name: "a",
        kind,
        path,
      };
      await rejects(writeAnswers(answers), { name: "UsageError", message: /is there already/ });
      equal(await readFile(path, "utf8"), "mine");
      await rejects(writeAnswers({ ...answers, path: join(folder, "none", "x") }), {
        message: /its folder is not there$/,
      });
      ok(!existsSync(join(folder, "none")));
    }
  }));
