import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "smol-toml";
import { runCommandLine } from "../../cli/main.ts";
import { changedValues } from "../../cli/settings/settings.ts";
import { inNewFolder } from "../steps/small_training.ts";
import { type GoldenConfig, readGoldenLines } from "./golden_lines.ts";
import { settingsOfLine } from "./parse_line.ts";

const golden = await readGoldenLines();

/** What passes in sd-scripts and is refused here, so that nothing is passed over in silence; the message's end. */
const refused: Readonly<Record<string, RegExp>> = {
  deeper: /\[a\.b\]: tables in tables are not read; move its keys into \[a\]$/,
  unknown_key: /c\.toml: unknown key lerning_rate; did you mean learning_rate\?$/,
  dashes: /c\.toml: unknown key learning-rate; did you mean learning_rate\?$/,
  wrong_type: /c\.toml: max_train_steps is 10\.5, must be a whole number$/,
  missing: /^Cannot read settings from .*c\.toml: there is no such file$/,
  output: /^--network_args has the unknown name a; did you mean dropout\? /,
  output_exists: /^Cannot write settings to .*c\.toml: it is there already; take it away or name another file$/,
};

/** Values that sd-scripts leaves as they are in the file, and that are read as the flag's own kind here. */
const converted: Readonly<Record<string, Record<string, unknown>>> = { list_resolution: { resolution: "512,768" } };

/** A golden's line, with its file in a folder of ours. */
function lineIn(folder: string, { line }: GoldenConfig): string[] {
  return line.flatMap((word) =>
    word.startsWith("--config_file=")
      ? [`--config_file=${join(folder, word.slice("--config_file=".length))}`]
      : word === "c"
      ? [join(folder, "c")]
      : [word]
  );
}

/** What a run needs beside a line's own flags, for which nothing is there. */
function required(line: readonly string[]): string[] {
  return ["--pretrained_model_name_or_path=none", "--output_dir=none", "--train_data_dir=none"].filter((flag) =>
    !line.some((word) => word.startsWith(flag.replace(/=.*/, "=")))
  );
}

async function check(each: GoldenConfig, isPair: boolean): Promise<void> {
  await inNewFolder(async (folder) => {
    const { name, toml, result, written } = each, path = join(folder, "c.toml");
    if (toml !== null) await writeFile(path, toml);
    // Data for network 2 make the original's defaults count.
    const line = [...lineIn(folder, each), ...(isPair ? ["--train_data_dir_2=two"] : [])];
    if (refused[name]) {
      await rejects(runCommandLine(["train", ...line]), { name: "UsageError", message: refused[name] });
      if (!written) return;
      // The same with an argument that networks have.
      await runCommandLine(["train", ...line.map((word) => word.replace(/^a=1$/, "conv_dim=1"))]);
      const second = isPair ? { train_data_dir_2: "two" } : {};
      return deepEqual({ ...parse(await readFile(path, "utf8")) }, {
        ...written,
        ...second,
        network_args: ["conv_dim=1"],
      });
    }
    const { config_file: file, train_data_dir_2: _, ...changed } = changedValues(await settingsOfLine(line));
    ok(String(file).startsWith(folder));
    const { config_file: __, ...expected } = { ...result!, ...converted[name] };
    deepEqual(changed, expected);
  });
}

Deno.test("settings files mean what they mean to the original, or are refused where something would be passed over", async (t) => {
  for (const each of golden.config_file.cases) await t.step(each.name, () => check(each, true));
});

Deno.test("settings files mean what they mean to sd-scripts, or are refused where something would be passed over", async (t) => {
  for (const each of golden.config_file.cases_sd_scripts_0_6_4) await t.step(each.name, () => check(each, false));
});

Deno.test("the command line beats the settings file, which beats the default", () =>
  inNewFolder(async (folder) => {
    const file = join(folder, "c.toml");
    await writeFile(file, "[a]\nseed = 3\nnetwork_dim = 8\n");
    const { values } = await settingsOfLine([`--config_file=${file}`, "--seed=4"]);
    deepEqual([values.seed, values.network_dim, values.train_batch_size], [4, 8, 1]);
  }));

Deno.test("a settings file that was written gives the same settings again", () =>
  inNewFolder(async (folder) => {
    const file = join(folder, "c.toml");
    const line = [
      "--train_data_dir_2=b",
      "--seed=3",
      "--learning_rate=1e-7",
      "--network_args",
      "conv_dim=4",
      "--freeze_network_1",
      '--output_dir=ü "x"',
    ];
    await runCommandLine(["train", ...line, `--config_file=${file}`, "--output_config"]);
    const again = (await settingsOfLine([`--config_file=${file}`])).values,
      before = (await settingsOfLine(line)).values;
    deepEqual({ ...again, config_file: null }, { ...before });
  }));

Deno.test("what the original's command lines give is written so that it is the same again, or refused as training would", () =>
  inNewFolder(async (folder) => {
    const { lines, readme_example } = golden.dual;
    let written = 0;
    for (const [at, { line: whole }] of [...lines, readme_example].entries()) {
      // One of them asks for the file itself.
      const line = whole.filter((word) => word !== "--output_config");
      const file = join(folder, `${at}.toml`);
      const write = () => runCommandLine(["train", "--output_config", `--config_file=${file}`, ...line]);
      const problem = await write().then(() => null, (error) => error);
      if (problem) {
        equal(problem.name, "UsageError", line.join(" "));
        await rejects(runCommandLine(["train", ...required(line), ...line]), { message: problem.message });
        await rejects(readFile(file), { code: "ENOENT" });
        continue;
      }
      written++;
      const { values, isPair } = await settingsOfLine([`--config_file=${file}`]), before = await settingsOfLine(line);
      deepEqual({ ...values, config_file: null }, before.values, line.join(" "));
      equal(isPair, before.isPair);
    }
    // Of 68 and the readme's, 27 have words that are refused, such as --v2, --seed=-5 and --nonsense.
    equal(written, 42);
  }));

Deno.test("settings that training would refuse are not written, with the flag and the same words", () =>
  inNewFolder(async (folder) => {
    const file = join(folder, "c.toml"), data = join(folder, "data.toml");
    await writeFile(data, "[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dr = 'x'\n");
    const cases: [string[], RegExp][] = [
      [["--wandb_api_key=secret"], /^--wandb_api_key is refused: nothing here is sent over the network$/],
      [["--learning_rate=0"], /^--learning_rate: Cannot train: learningRate is 0, must be a number above 0$/],
      [["--train_data_dir_2=b", "--network_dim_2=0"], /^--network_dim_2: Cannot make a network: rank is 0, must be /],
      [["--optimizer_type=Lion8bit"], /^--optimizer_type: Cannot use optimizer Lion8bit: /],
      [
        ["--caption_dropout_rate=2"],
        /^--caption_dropout_rate: .*captionDropoutRate is 2, must be a number from 0 to 1$/,
      ],
      [
        ["--resolution=64", "--enable_bucket"],
        /^--min_bucket_reso: Cannot make buckets: minBucketReso is 256, must be /,
      ],
      [
        ["--sample_every_n_steps=5"],
        /^--sample_every_n_steps needs --sample_prompts, a file with a prompt on each line$/,
      ],
      [[`--dataset_config=${data}`], /data\.toml:\n[^]*line 4, datasets\[0\]\.subsets\[0\]\.image_dr: unknown key/],
      [["--output_name=a/b"], /^--output_name: Cannot save networks: "a\/b" is no file name; /],
    ];
    for (const [line, message] of cases) {
      await rejects(runCommandLine(["train", ...line, `--config_file=${file}`, "--output_config"]), {
        name: "UsageError",
        message,
      });
      await rejects(readFile(file), { code: "ENOENT" });
    }
  }));

Deno.test("errors in settings files name the file, the line or the key, and what was wanted", () =>
  inNewFolder(async (folder) => {
    const file = join(folder, "c.toml");
    const cases: [string, RegExp][] = [
      ["seed = \n", /c\.toml, line 1, column \d+: /],
      ["[a]\nseed = true\n", /c\.toml \[a\]: seed is true, must be a whole number$/],
      ['mixed_precision = "fp8"\n', /c\.toml: mixed_precision is "fp8", must be no, fp16 or bf16$/],
      ['save_model_as = "exe"\n', /c\.toml: save_model_as is "exe", must be ckpt, pt or safetensors$/],
      ['enable_bucket = "yes"\n', /c\.toml: enable_bucket is "yes", must be true or false$/],
      [
        'network_args = "conv_dim=4"\n',
        /c\.toml: network_args is "conv_dim=4", must be a list of texts, such as \["conv_dim=4"\]$/,
      ],
      ["output_dir = 1979-05-27\n", /c\.toml: output_dir is a date, must be a text$/],
      ['config_file = "d"\n', /c\.toml: config_file is for the command line, not for a settings file$/],
    ];
    for (const [toml, message] of cases) {
      await writeFile(file, toml);
      await rejects(settingsOfLine([`--config_file=${file}`]), { name: "UsageError", message });
    }
    await writeFile(file, 'learning_rate = "1e-4"\nfreeze_network_1 = "False"\n');
    const { values } = await settingsOfLine([`--config_file=${file}`]);
    deepEqual([values.learning_rate, values.freeze_network_1], [1e-4, false]);
  }));

Deno.test("a key in two tables takes the later value and says so", () =>
  inNewFolder(async (folder) => {
    const file = join(folder, "c.toml");
    await writeFile(file, "[a]\nseed = 1\n[b]\nseed = 2\n");
    const { values, notes } = await settingsOfLine([`--config_file=${file}`]);
    equal(values.seed, 2);
    match(notes.join(), /^seed is in .*c\.toml \[a\] and again in .*c\.toml \[b\], which counts$/);
  }));

Deno.test("output_config without config_file has nothing to write to", async () => {
  await rejects(runCommandLine(["train", "--output_config"]), {
    message: "--output_config needs --config_file=<file>, which it writes",
  });
});
