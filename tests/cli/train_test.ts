import { deepEqual, equal, match, ok } from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readLora } from "../../formats/lora_file.ts";
import * as d from "../../mod.ts";
import { checkToyLora } from "../examples/lora_files.ts";
import { inNewFolder, resultOf, runCommand, startCommand, startScript } from "../examples/run_example.ts";
import { copyPictures } from "../steps/small_training.ts";

/** Folders as the command of the method's description names them, with two pictures each. */
async function smallFolders(folder: string): Promise<void> {
  await copyPictures(d.toy.character, join(folder, "character"), 2);
  await copyPictures(d.toy.outfit, join(folder, "outfit"), 2);
  await copyPictures(d.toy.priors, join(folder, "people"), 2);
}

/** The command of the method's description as it stands; other paths, fewer steps, a smaller size and rank. */
const seedCommand = [
  "--pretrained_model_name_or_path=toy",
  "--pretrained_model_name_or_path=toy",
  "--output_dir=out",
  "--output_name=clothes",
  "--save_model_as=safetensors",
  "--prior_loss_weight=1.0",
  "--max_train_steps=3",
  "--optimizer_type=AdamW8bit",
  "--xformers",
  "--mixed_precision=fp16",
  "--cache_latents",
  "--gradient_checkpointing",
  "--save_every_n_epochs=1",
  "--network_module=networks.lora",
  "--network_dim=8",
  "--network_alpha=4",
  "--train_data_dir=character",
  "--reg_data_dir=people",
  "--train_data_dir_2=outfit",
  "--reg_data_dir_2=people",
  "--orth_te_coefficient=1",
  "--orth_unet_coefficient=1",
  "--freeze_network_1=False",
  "--semi_freeze_network_1=False",
  "--anneal_epoch=0",
  "--half_annel_epoch=0",
];
/** Not in that command: small pictures, and a rate at which three steps can be seen. */
const small = ["--resolution=64", "--learning_rate=1e-3"];

/**
 * A LoRA file without what says when it was made. The legacy hash is taken of bytes at a fixed place in the file, behind a header whose length
 * varies with the digits of the times; sshs_model_hash covers all tensor bytes and stays.
 */
async function timeless(path: string) {
  const { modules, metadata } = await readLora(path), varies = /^ss_training_(started|finished)_at$|^sshs_legacy_hash$/;
  return { modules, metadata: [...metadata].filter(([key]) => !varies.test(key)) };
}

Deno.test("the command of the method's description trains two networks; rerun and its printed recipe write the same files", () =>
  inNewFolder(async (folder) => {
    await smallFolders(folder);
    const line = ["train", ...seedCommand, ...small];
    const ran = await runCommand(line, folder);
    equal(ran.code, 0, ran.stdout + ran.stderr);
    const files = ["clothes.safetensors", "clothes_2.safetensors"];
    for (const file of files) await checkToyLora(join(folder, "out", file), { rank: 8, alpha: 4 });

    const repeated = await runCommand(["rerun", "out/clothes_run/run.json"], folder);
    equal(repeated.code, 0, repeated.stdout + repeated.stderr);
    // The legacy hash reads bytes from a place on, which times of other lengths move.
    match(
      repeated.stdout,
      /\n {2}clothes_2\.safetensors: ss_training_finished_at, ss_training_started_at(, sshs_legacy_hash)?\n/,
    );
    match(repeated.stdout, /\nThe outputs are bit-equal, but for times: 6 files compared; 2 were not compared\n$/);

    const printed = await runCommand([...line, "--print_recipe"], folder);
    equal(printed.code, 0, printed.stderr);
    const script = join(folder, "recipe.ts"), elsewhere = join(folder, "elsewhere");
    await smallFolders(elsewhere);
    await writeFile(script, printed.stdout);
    const again = await resultOf(startScript(script, elsewhere));
    equal(again.code, 0, again.stdout + again.stderr);
    for (const file of files) {
      const [one, other] = await Promise.all([folder, elsewhere].map((each) => timeless(join(each, "out", file))));
      deepEqual(other, one, `${file} differs`);
    }
  }));

Deno.test("a printed recipe says how it is run, and is, from a folder outside of the project", () =>
  inNewFolder(async (folder) => {
    await smallFolders(folder);
    const line = ["--pretrained_model_name_or_path=toy", "--train_data_dir=character", "--output_dir=out", ...small];
    const { stdout: printed } = await runCommand(["train", ...line, "--print_recipe"], folder);
    await writeFile(join(folder, "recipe.ts"), printed);
    const [, launcher] = /^ \* deno run -A '?(.*launch\.ts)'? recipe\.ts$/m.exec(printed)!;
    const args = ["run", "-A", launcher, "recipe.ts", "--describe"];
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: folder }).output();
    const [shown, errors] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    equal(code, 0, errors);
    match(shown, /\n 4\. pretrain network 1\n/);
  }));

Deno.test("without data for network 2, train makes one plain LoRA with sd-scripts' defaults", () =>
  inNewFolder(async (folder) => {
    await smallFolders(folder);
    const line = [
      "--pretrained_model_name_or_path=toy",
      "--train_data_dir=character",
      "--output_dir=out",
      "--max_train_epochs=1",
    ];
    const { code, stdout, stderr } = await runCommand(["train", ...line, ...small], folder);
    equal(code, 0, stdout + stderr);
    // Rank 4 and alpha 1 are what sd-scripts takes where they are not given.
    await checkToyLora(join(folder, "out", "last.safetensors"), { rank: 4, alpha: 1 });
    deepEqual([...Deno.readDirSync(join(folder, "out"))].map(({ name }) => name).sort(), [
      "last.safetensors",
      "last_run",
    ]);
  }));

Deno.test("freezing without weights trains network 1 first, then network 2 against it", () =>
  inNewFolder(async (folder) => {
    await smallFolders(folder);
    const flags = ["--freeze_network_1", "--network_dim_2=2", "--pretrain_steps=2", "--network_train_unet_only"];
    const line = seedCommand.filter((word) => !word.startsWith("--freeze") && !word.startsWith("--reg"));
    const { code, stdout, stderr } = await runCommand(["train", ...line, ...small, ...flags], folder);
    equal(code, 0, stdout + stderr);
    match(stdout, /pretrain network 1: starts[^]*freeze network 1: [^]*train network 2: starts/);
    const ranks = await Promise.all(["clothes", "clothes_2"].map(async (name) => {
      const file = await readFile(join(folder, "out", `${name}.safetensors`));
      return JSON.parse(file.toString("utf8", 8, 8 + Number(file.readBigUInt64LE(0)))).__metadata__.ss_network_dim;
    }));
    deepEqual(ranks, ["8", "2"]);
  }));

Deno.test("train leaves with 3 where training diverges, and leaves no LoRA file", () =>
  inNewFolder(async (folder) => {
    await smallFolders(folder);
    const line = [
      "--pretrained_model_name_or_path=toy",
      "--train_data_dir=character",
      "--output_dir=out",
      "--resolution=64",
    ];
    const { code, stderr } = await runCommand(
      ["train", ...line, "--learning_rate=1e30", "--max_train_steps=20", "--network_train_unet_only"],
      folder,
    );
    equal(code, 3, stderr);
    match(stderr, /^pretrain network 1: failed: Training diverged in step \d+: /);
    deepEqual([...Deno.readDirSync(join(folder, "out"))].map(({ name }) => name), ["last_run"]);
  }));

Deno.test({
  name: "train stops at Ctrl-C with 75, and the same line goes on",
  // Windows cannot send a signal to one process.
  ignore: Deno.build.os === "windows",
  fn: () =>
    inNewFolder(async (folder) => {
      await smallFolders(folder);
      const line = [
        "train",
        "--pretrained_model_name_or_path=toy",
        "--train_data_dir=character",
        "--output_dir=out",
        ...small,
      ];
      const args = [...line, "--max_train_steps=12", "--checkpoint_every_n_steps=2"];
      const child = startCommand(args, folder), stderr = new Response(child.stderr).text();
      let stdout = "";
      for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
        if (!stdout.includes("pretrain network 1: starts") && (stdout + text).includes("pretrain network 1: starts")) {
          child.kill("SIGINT");
        }
        stdout += text;
      }
      equal((await child.status).code, 75);
      match(
        await stderr,
        /^Stopping as soon as .*\nInterrupted in step 'pretrain network 1': run the recipe again to go on\n$/,
      );
      const again = await runCommand(args, folder);
      equal(again.code, 0, again.stderr);
      match(again.stdout, /pretrain network 1: goes on/);
      await checkToyLora(join(folder, "out", "last.safetensors"), { rank: 4, alpha: 1 });
    }),
});

Deno.test("train leaves with 2 and names the flag where something is missing or wrong", () =>
  inNewFolder(async (folder) => {
    await smallFolders(folder);
    const base = [
      "--pretrained_model_name_or_path=toy",
      "--train_data_dir=character",
      "--output_dir=out",
      "--resolution=64",
    ];
    const cases: [string[], string][] = [
      [
        ["--output_dir=out"],
        "--pretrained_model_name_or_path is missing: a folder or file of Stable Diffusion 1.x, or toy for the small model that comes with the project",
      ],
      [
        base.slice(1),
        "--pretrained_model_name_or_path is missing: a folder or file of Stable Diffusion 1.x, or toy for the small model that comes with the project",
      ],
      [
        base.filter((word) => !word.startsWith("--train")),
        "--train_data_dir is missing: a folder of folders <repeats>_<class> with pictures",
      ],
      [
        base.filter((word) => !word.startsWith("--output")),
        "--output_dir is missing: the folder that the LoRA files are written to",
      ],
      [
        base.slice(0, 3),
        "--resolution: Cannot make the data set of network 1: resolution is missing; give width and height in pixels",
      ],
      [
        [...base, "--output_dir=character/1_sks person/000.txt"],
        "Cannot write into character/1_sks person/000.txt: it is a file, must be a folder",
      ],
      [[...base, "--learning_rate=0"], "--learning_rate: Cannot train: learningRate is 0, must be a number above 0"],
      [[...base, "--network_dim=0"], "--network_dim: Cannot make a network: rank is 0, must be a whole number above 0"],
      [
        [...base, "--vae_batch_size=0"],
        "--vae_batch_size: Cannot cache latents: batchSize is 0, must be a whole number above 0",
      ],
      [
        [...base, "--network_args", "conv_dm=4"],
        "--network_args has the unknown name conv_dm; did you mean conv_dim? Names are conv_dim, conv_alpha, dropout, rank_dropout, module_dropout, " +
        "down_lr_weight, mid_lr_weight, up_lr_weight, block_lr_zero_threshold, block_dims, block_alphas, conv_block_dims, conv_block_alphas",
      ],
    ];
    for (const [line, message] of cases) {
      const { code, stdout, stderr } = await runCommand(["train", ...line], folder);
      deepEqual({ code, stdout, stderr }, { code: 2, stdout: "", stderr: `${message}\n` });
    }
  }));

Deno.test("the table before a run has a time once such steps were measured, by the same steps in whatever folder", () =>
  inNewFolder(async (folder) => {
    await smallFolders(folder);
    const unet = ["--network_train_unet_only", "--network_dim=5"];
    const line = ["--pretrained_model_name_or_path=toy", "--train_data_dir=character", ...small, ...unet];
    const steps = "--max_train_steps=6", runs: string[] = [];
    for (const more of ["--output_dir=a", "--output_dir=b"]) {
      const { code, stdout, stderr } = await runCommand(
        ["train", ...line, steps, more, `--seed=${runs.length}`],
        folder,
      );
      equal(code, 0, stderr);
      runs.push(stdout);
    }
    match(runs[0], /\n {4}time +known after the first steps: such steps were not measured on this machine yet\n/);
    const said = /\n {4}time +about ([\d.]+) s, ([\d.]+) s a step, as measured before on .*\n/.exec(runs[1])!;
    const [, took] = /pretrain network 1: done in ([\d.]+) s\n/.exec(runs[0])!;
    // Of the first run's time, what was compiled and the first of its six steps are left out.
    ok(Number(said[1]) > 0 && Number(said[1]) <= Number(took) * 6 / 5, `${said[1]} s are said, ${took} s were taken`);
    ok(Math.abs(Number(said[1]) - 6 * Number(said[2])) <= 0.05 + 6 * 0.05 * Number(said[2]), said[0]);
    // Another seed takes the same time, other networks do not.
    const wider = await runCommand(
      ["train", ...line, "--network_dim=6", steps, "--output_dir=d", "--describe"],
      folder,
    );
    match(wider.stdout, /time +known after the first steps/);
  }));

Deno.test("train leaves with 2 where the disk has no room for what it writes, and names flags for less", () =>
  inNewFolder(async (folder) => {
    await smallFolders(folder);
    const line = ["--pretrained_model_name_or_path=toy", "--train_data_dir=character", "--output_dir=out", ...small];
    const large = ["--max_train_steps=20000", "--save_every_n_steps=1", "--save_state", "--network_dim=1024"];
    const { code, stderr } = await runCommand(["train", ...line, ...large], folder);
    equal(code, 2, stderr);
    match(
      stderr,
      /^Not enough room on the disk of out: the run writes up to \d+\.\d TiB \(\d+ bytes\), .* are free\. /,
    );
    match(stderr, /\n {2}\d+\.\d TiB: 20001 states, in out; less with --save_state left out, /);
    match(stderr, /\n {2}\d+\.\d TiB: 20000 saves of LoRA files, in out; less with --save_every_n_epochs, /);
  }));

Deno.test("train leaves with 2 where prompts cannot be used, with file and line, and so does a script", () =>
  inNewFolder(async (folder) => {
    await smallFolders(folder);
    await writeFile(join(folder, "prompts.txt"), "a person --w 64\na person --q 5\n");
    const line = ["--pretrained_model_name_or_path=toy", "--train_data_dir=character", "--output_dir=out", ...small];
    const args = [...line, "--sample_every_n_steps=1", "--sample_prompts=prompts.txt"];
    const { code, stdout, stderr } = await runCommand(["train", ...args], folder);
    const message =
      "Cannot read the prompts prompts.txt, line 2: unknown option --q; options are --w, --h, --d, --s, " +
      "--l, --n, --ne, --ss";
    deepEqual({ code, stdout, stderr }, { code: 2, stdout: "", stderr: `${message}\n` });
    const { stdout: printed } = await runCommand(["train", ...args, "--print_recipe"], folder);
    await writeFile(join(folder, "recipe.ts"), printed);
    const script = await resultOf(startScript(join(folder, "recipe.ts"), folder));
    deepEqual([script.code, script.stderr], [2, `pretrain network 1: failed: ${message}\n`]);
  }));

Deno.test("train leaves with 2 where the state that it should go on from is none", () =>
  inNewFolder(async (folder) => {
    await smallFolders(folder);
    const line = ["--pretrained_model_name_or_path=toy", "--train_data_dir=character", "--output_dir=out"];
    const { code, stderr } = await runCommand(["train", ...line, ...small, "--resume=none"], folder);
    equal(code, 2, stderr);
    equal(stderr, "Cannot go on from the state none: there is no such folder\n");
  }));
