/**
 * What is broken in the original script and works here: one test for each, named after what works.
 *
 * A training is seconds, so tests share runs, and where two command lines make the same recipe they run it once.
 *
 * @module
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { readEvents } from "../../formats/tensorboard/_test_events.ts";
import { planRecipe } from "../../cli/recipe/plan_recipe.ts";
import { Device } from "../../engine/mod.ts";
import { type LoraFile, writeLora } from "../../formats/lora_file.ts";
import { writeSafetensors } from "../../formats/safetensors.ts";
import * as d from "../../mod.ts";
import { datasetOf, readTrainingData } from "../../steps/values/training_data.ts";
import { settingsOfLine } from "../cli/parse_line.ts";
import { toyTensors } from "../models/checkpoint_files.ts";
import { type LineResult, makeData, pairLine, runLine } from "./run_line.ts";

/** One folder for all tests, so that runs which several compare with run once. */
let folder = "";

Deno.test.beforeAll(async () => {
  folder = await Deno.makeTempDir({ prefix: "dualora-original-" });
  await makeData(folder);
});

Deno.test.afterAll(() => Deno.remove(folder, { recursive: true }));

/** Whether two files hold the same weights; their metadata may differ. An assertion would draw up the differences of all numbers. */
function sameWeights(one: { modules: unknown }, two: { modules: unknown }): boolean {
  return isDeepStrictEqual(one.modules, two.modules);
}

/** The steps with their options that a command line comes to. */
async function callsOf(line: readonly string[]) {
  return (await planRecipe(await settingsOfLine([...line, "--output_dir=out"]))).calls;
}

/** A network's figures of every step, without the ending that tells networks apart. */
function figures({ networks }: LineResult, number: 1 | 2): Record<string, number>[] {
  const { log } = number === 1 ? networks.network1 : networks.network2!;
  return log.map(({ values }) =>
    Object.fromEntries(Object.entries(values).map(([name, value]) => [name.replace(/_[12]$/, ""), value]))
  );
}

/** What the loss has beside the mean square error: with one picture a step that is all that the networks' coupling adds. */
function coupling(values: Record<string, number>): number {
  return values.loss - values.mse;
}

/** Two numbers that are equal but for the rounding of losses of about 1 in f32. */
function near(found: number, wanted: number, what: string, limit = 1e-6): void {
  ok(Math.abs(found - wanted) <= limit, `${what}: ${found}, wanted ${wanted}`);
}

/** A run that several tests look at: names, states, pictures. */
async function savedRun(): Promise<LineResult> {
  const prompts = join(folder, "prompts.txt");
  await writeFile(prompts, "sks person --w 64 --h 64 --s 2 --d 1\n");
  return await runLine(folder, [
    ...pairLine(folder),
    ...["--output_name=clothes", "--output_name_2=outfit", "--save_every_n_steps=2", "--save_state"],
    ...[`--sample_prompts=${prompts}`, "--sample_every_n_steps=4", "--sample_sampler=euler"],
  ]);
}

/** Another: network 2 has sizes of its own, coefficients are fractions, regularization is network 2's alone. */
function fractionsRun(): Promise<LineResult> {
  return runLine(folder, [
    ...pairLine(folder),
    // The middle block needs two cells a side: at 64 pixels it has one, at 72 two.
    ...["--resolution=72", "--network_alpha_2=2", "--network_dim_2=8", "--log_prefix=orthogonal"],
    "--learning_rate=5e-2",
    ...["--orth_te_coefficient=0.25", "--orth_unet_coefficient=0.5", `--reg_data_dir_2=${join(folder, "people")}`],
  ]);
}

/** The text term alone decides. */
function strongLine(): string[] {
  return [...pairLine(folder), "--orth_te_coefficient=1000000", "--max_grad_norm=0"];
}

/** Frozen: network 1 trains for one step, then network 2 against it. */
function frozenLine(): string[] {
  return [...strongLine(), "--freeze_network_1", "--pretrain_steps=1"];
}

Deno.test("both networks are saved, each under a name of its own, and either name can be chosen", async () => {
  const { loras } = await runLine(folder, pairLine(folder));
  deepEqual(Object.keys(loras), ["last", "last_2"]);
  ok(!sameWeights(loras.last, loras.last_2));
  deepEqual(Object.keys((await savedRun()).loras), ["clothes", "outfit"]);
});

Deno.test("any anneal_epoch runs, with half_annel_epoch and with half_anneal_epoch", async () => {
  const line = [...strongLine(), "--anneal_epoch=3", "--max_train_epochs=4"];
  deepEqual(await callsOf([...line, "--half_annel_epoch=1"]), await callsOf([...line, "--half_anneal_epoch=1"]));
  const run = await runLine(folder, [...line, "--half_annel_epoch=1"]);
  // Two steps an epoch. The loss is on in epochs after the first half one, 2 and 3: off in the first two.
  for (const [number, log] of [[1, run.networks.network1.log], [2, run.networks.network2!.log]] as const) {
    deepEqual(log.map(({ epoch }) => epoch), [0, 0, 1, 1, 2, 2, 3, 3]);
    figures(run, number).forEach((values, step) => {
      const wanted = step < 4 ? 0 : 1e6 * values.orth_te + values.orth_unet;
      near(coupling(values), wanted, `network ${number}, step ${step}`, 1e-6 * Math.max(1, wanted));
      if (step >= 4) ok(wanted > 1e-3, `${wanted}`);
    });
  }
});

Deno.test("freezing works without weights and with both spellings of False, True, 0 and 1", async () => {
  const line = pairLine(folder), free = await callsOf(line), frozen = await callsOf([...line, "--freeze_network_1"]);
  for (const words of [["=True"], ["=true"], ["=1"], ["", "1"], ["", "True"]]) {
    const [first, ...rest] = words;
    deepEqual(await callsOf([...line, `--freeze_network_1${first}`, ...rest]), frozen);
  }
  for (const word of ["False", "false", "0"]) {
    deepEqual(await callsOf([...line, `--freeze_network_1=${word}`, `--semi_freeze_network_1=${word}`]), free);
  }
  const { networks } = await runLine(folder, frozenLine());
  // Network 1 stays as its one step of pretraining left it.
  deepEqual([networks.network1.log.length, networks.network2!.log.length], [1, 4]);
  const half = await runLine(folder, [
    ...line,
    ...["--pretrain_steps=2", "--semi_freeze_network_1", "--anneal_epoch=1", "--max_train_steps=4"],
  ]);
  // Two steps alone, none in the first epoch of two steps, two in the second.
  deepEqual([half.networks.network1.log.length, half.networks.network2!.log.length], [4, 4]);
});

Deno.test("a base model given twice is one for each network, given once it serves both", async () => {
  const line = pairLine(folder), once = await runLine(folder, line);
  const twice = ["--pretrained_model_name_or_path=toy", ...line],
    named = [
      ...line,
      "--pretrained_model_name_or_path_2=toy",
    ];
  deepEqual(await callsOf(twice), await callsOf(named));
  ok(sameWeights((await runLine(folder, twice)).loras.last_2, once.loras.last_2));
  const { values } = await settingsOfLine(["--pretrained_model_name_or_path=a", "--pretrained_model_name_or_path=b"]);
  deepEqual([values.pretrained_model_name_or_path, values.pretrained_model_name_or_path_2], ["a", "b"]);

  // Another base is network 2's alone: in the first step network 1 predicts what it did, network 2 does not.
  const other = join(folder, "other"), path = join(other, "unet", "diffusion_pytorch_model.safetensors");
  await cp(d.toy.base, other, { recursive: true });
  const blind = (await toyTensors("unet")).map((tensor) =>
    tensor.name === "conv_in.weight" ? { ...tensor, bytes: new Uint8Array(tensor.bytes.length) } : tensor
  );
  await writeSafetensors(path, blind);
  const two = await runLine(folder, [...line, `--pretrained_model_name_or_path=${other}`, "--max_train_steps=1"]);
  equal(figures(two, 1)[0].mse, figures(once, 1)[0].mse);
  ok(figures(two, 2)[0].mse !== figures(once, 2)[0].mse);
});

Deno.test("gradient checkpointing leaves the text encoder's term its gradient: the same weights, bit for bit", async () => {
  const kept = await runLine(folder, strongLine());
  const again = await runLine(folder, [...strongLine(), "--gradient_checkpointing"]);
  ok(sameWeights(again.loras.last_2, kept.loras.last_2));
  // The term moves weights at all: with a millionth of it they are others.
  ok(!sameWeights((await runLine(folder, pairLine(folder))).loras.last_2, again.loras.last_2));
});

Deno.test("sizes that are not square, other sizes and other batches for network 2, and buckets", async () => {
  const run = await runLine(folder, [
    ...pairLine(folder).filter((word) => !word.startsWith("--train_data_dir=")),
    ...[`--train_data_dir=${join(folder, "shapes")}`, "--enable_bucket", "--enable_bucket_2=False"],
    ...["--min_bucket_reso=32", "--max_bucket_reso=128", "--bucket_reso_steps=32"],
    ...["--resolution_2=32,64", "--train_batch_size_2=2"],
  ]);
  const said = (name: string, key: string) => run.loras[name].metadata.get(key)!;
  const { buckets } = JSON.parse(said("last", "ss_bucket_info"));
  deepEqual(Object.values(buckets), [{ resolution: [32, 96], count: 1 }, { resolution: [96, 32], count: 1 }]);
  deepEqual([said("last_2", "ss_resolution"), said("last_2", "ss_enable_bucket")], ["(32, 64)", "False"]);
  deepEqual(["last", "last_2"].map((name) => said(name, "ss_batch_size_per_device")), ["1", "2"]);
  for (const number of [1, 2] as const) {
    equal(figures(run, number).length, 4);
    ok(figures(run, number).every((values) => Object.values(values).every(Number.isFinite)));
  }
});

Deno.test("data sets from a file, the UNet alone and the text encoder alone", async () => {
  const toml = join(folder, "two.toml");
  await writeFile(
    toml,
    `[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = '${
      join(folder, "two", "1_zkz clothes")
    }'\nclass_tokens = "zkz clothes"\ncaption_extension = ".txt"\n`,
  );
  const line = pairLine(folder).filter((word) => !word.startsWith("--train_data_dir_2"));
  const fromFile = await runLine(folder, [...line, `--dataset_config_2=${toml}`]);
  ok(sameWeights(fromFile.loras.last_2, (await runLine(folder, pairLine(folder))).loras.last_2));
  const unet = await runLine(folder, [...pairLine(folder), "--network_train_unet_only", "--max_train_steps=1"]);
  const text = await runLine(folder, textLine());
  for (const name of ["last", "last_2"]) {
    ok(unet.loras[name].modules.every((module) => module.name.startsWith("lora_unet_")));
    ok(text.loras[name].modules.every((module) => module.name.startsWith("lora_te_")));
  }
});

Deno.test("min_snr_gamma, noise_offset, max_grad_norm and kld_coefficient do what they say", async () => {
  const plain = await runLine(folder, pairLine(folder));
  const losses = await runLine(folder, [
    ...pairLine(folder),
    ...["--min_snr_gamma=0.001", "--min_snr_gamma_2=0", "--noise_offset_2=0.5", "--max_train_steps=1"],
  ]);
  const [[one], [plainOne]] = [figures(losses, 1), figures(plain, 1)];
  // In the first step nothing else is different: the same prediction counts less, as no ratio is below 0.0047, and other noise is predicted.
  equal(one.mse, plainOne.mse);
  ok(one.loss > 0 && one.loss < 0.5 * plainOne.loss, `${one.loss}, without it ${plainOne.loss}`);
  const [[two], [plainTwo]] = [figures(losses, 2), figures(plain, 2)];
  ok(two.mse !== plainTwo.mse && two.loss === two.mse);

  const other = await runLine(folder, [
    ...pairLine(folder),
    ...["--kld_coefficient=-10", "--max_grad_norm=0.000000001", "--max_grad_norm_2=1"],
  ]);
  for (const number of [1, 2] as const) {
    figures(other, number).forEach((values, step) => {
      const wanted = values.orth_te + values.orth_unet - 10 * (values.kld_te + values.kld_unet);
      near(coupling(values), wanted, `network ${number}, step ${step}`, 1e-5);
      if (step > 0) ok(wanted < -1e-3, `${wanted}`);
    });
  }
  // Gradients far below AdamW's epsilon move little; those of network 2 are not limited so.
  const [limited, free] = ["last", "last_2"].map((name) => upNorm(other.loras[name]) / upNorm(plain.loras[name]));
  ok(limited < 0.2 && free > 0.5, `${limited} ${free}`);
});

/** Root of the sum of squares of what begins at 0. */
function upNorm({ modules }: LoraFile): number {
  return Math.sqrt(modules.flatMap(({ up }) => Array.from(up.values)).reduce((sum, value) => sum + value * value, 0));
}

/** One epoch of two steps for the text encoder's modules, each network for itself. */
function textLine(): string[] {
  const alone = ["--orth_te_coefficient=0", "--network_train_text_encoder_only", "--max_train_epochs=1"];
  return [...pairLine(folder), ...alone];
}

Deno.test("captions are left out in every second epoch only, and grow with the steps", async () => {
  const whole = await runLine(folder, textLine());
  // The first epoch of two has its captions, of one not: the original counts no epochs and drops them in all.
  const dropped = await runLine(folder, [
    ...textLine(),
    ...["--caption_dropout_every_n_epochs=2", "--caption_dropout_every_n_epochs_2=1"],
  ]);
  deepEqual(["last", "last_2"].map((name) => sameWeights(dropped.loras[name], whole.loras[name])), [true, false]);
  // At the first step all begin with one tag; one that counts no steps would stay there.
  const grown = await runLine(folder, [...textLine(), "--token_warmup_step=1", "--token_warmup_step_2=1000000"]);
  const short = await runLine(folder, [...textLine(), "--token_warmup_step=1000000"]);
  equal(figures(grown, 1)[0].loss, figures(short, 1)[0].loss);
  ok(figures(grown, 1)[0].loss !== figures(whole, 1)[0].loss);
  ok(figures(grown, 1)[1].loss !== figures(short, 1)[1].loss);
  deepEqual(figures(grown, 2).map(({ loss }) => loss), figures(short, 2).map(({ loss }) => loss));
});

Deno.test("buckets are shuffled anew in each epoch", async () => {
  const line = [
    `--train_data_dir=${d.toy.character}`,
    "--caption_extension=.txt",
    "--resolution=128",
    "--enable_bucket",
    "--max_bucket_reso=256",
  ];
  const calls = await callsOf([...line, "--min_bucket_reso=64", "--pretrained_model_name_or_path=toy"]);
  const options = calls.find(([step]) => step === "readDatasets")![1] as d.ReadDatasetsOptions;
  const { data } = await readTrainingData(options), set = datasetOf(data.network1);
  const order = (epoch: number) => set.epoch(epoch).map(({ samples }) => samples.map(({ image }) => image.path));
  const [first, second] = [order(0), order(1)];
  equal(first.length, second.length);
  deepEqual(first.flat().sort(), second.flat().sort());
  ok(JSON.stringify(first) !== JSON.stringify(second));
});

Deno.test("coefficients are fractions, each network's file has its own alpha, and orthogonality is in the figures", async () => {
  const run = await fractionsRun();
  for (const number of [1, 2] as const) {
    figures(run, number).forEach((values, step) => {
      const wanted = 0.25 * values.orth_te + 0.5 * values.orth_unet;
      near(coupling(values), wanted, `network ${number}, step ${step}`, 1e-6 * Math.max(1, values.loss));
      if (step > 0) ok(values.orth_te > 0 && values.orth_unet > 0);
    });
  }
  // Far above what rounding leaves.
  ok(coupling(figures(run, 2)[3]) > 2e-5);
  const metadata = ["last", "last_2"].map((name) =>
    ["ss_network_dim", "ss_network_alpha"].map((key) => run.loras[name].metadata.get(key))
  );
  deepEqual(metadata, [["4", "4.0"], ["8", "2.0"]]);
  deepEqual(["last", "last_2"].map((name) => run.loras[name].modules[0].alpha), [4, 2]);
});

// A machine with a GPU may have CUDA as well, whatever trains there.
const isCpu = await (async () => {
  using device = await Device.open();
  return device.facts.target.cpu;
})();

Deno.test({
  name: "a machine without CUDA trains: its CPU does, if WebGPU gives nothing else",
  ignore: !isCpu,
  fn: async () => {
    const { events, loras } = await runLine(folder, pairLine(folder));
    ok(events.some((event) => event.type === "step-finished" && event.step === "train both networks"));
    for (const name of ["last", "last_2"]) ok(upNorm(loras[name]) > 0);
  },
});

Deno.test("gathered batches make steps of their own number, whichever network has fewer pictures", async () => {
  // Network 1 has two batches an epoch, network 2 one: two batches, gathered, are one step, in each of four epochs.
  const line = [
    ...pairLine(folder),
    "--train_batch_size_2=2",
    "--gradient_accumulation_steps=2",
    "--max_train_epochs=4",
  ];
  const { networks } = await runLine(folder, [...line, "--lr_scheduler=linear"]);
  for (const { log } of [networks.network1, networks.network2!]) deepEqual(log.map(({ epoch }) => epoch), [0, 1, 2, 3]);
  // The rate falls with each step of four, not with each batch: 1 - k / 4.
  for (const [number, network] of [[1, networks.network1], [2, networks.network2!]] as const) {
    const rates = network.log.map(({ values }) => values[`learning_rate_unet_${number}`]);
    rates.forEach((rate, step) => ok(Math.abs(rate - 1e-2 * (1 - step / 4)) < 1e-9, `${rates}`));
  }
});

Deno.test("network_weights count without freezing, frozen too, and each network has its own", async () => {
  const first = await runLine(folder, pairLine(folder));
  const [one, two] = ["last.safetensors", "last_2.safetensors"].map((file) => join(first.folder, file));
  // At such a rate nothing moves: what comes out is what went in.
  const still = [...pairLine(folder), "--learning_rate=1e-20", "--max_train_steps=1"];
  const loaded = await runLine(folder, [...still, `--network_weights=${one}`, `--network_weights_2=${two}`]);
  ok(sameWeights(loaded.loras.last, first.loras.last));
  ok(sameWeights(loaded.loras.last_2, first.loras.last_2));
  const frozen = await runLine(folder, [
    ...pairLine(folder),
    ...["--freeze_network_1", `--network_weights=${one}`, "--max_train_steps=1"],
  ]);
  ok(sameWeights(frozen.loras.last, first.loras.last));
  ok(!sameWeights(frozen.loras.last_2, first.loras.last_2));
});

Deno.test("the alpha of loaded weights is the scale in use, and is saved again", async () => {
  const { loras } = await runLine(folder, pairLine(folder)), line = [...pairLine(folder), "--max_train_steps=1"];
  const paths = ["last", "last_2"].map((name) => join(folder, `low_${name}.safetensors`));
  for (const [at, { modules }] of [loras.last, loras.last_2].entries()) {
    await writeLora(paths[at], modules.map((module) => ({ ...module, alpha: 2 })));
  }
  const weights = [`--network_weights=${paths[0]}`, `--network_weights_2=${paths[1]}`];
  // The flag says 4, the files say 2; the original trains with the flag's scale and saves the files' alpha.
  const [four, two] = [
    await runLine(folder, [...line, ...weights]),
    await runLine(folder, [...line, ...weights, "--network_alpha=2"]),
  ];
  for (const name of ["last", "last_2"]) {
    ok(four.loras[name].modules.every(({ alpha }) => alpha === 2));
    ok(sameWeights(four.loras[name], two.loras[name]));
  }
});

Deno.test("epochs are saved for both networks, each in a state of both, and old ones are removed", async () => {
  const line = [...pairLine(folder), "--output_name=clothes", "--save_last_n_epochs=1", "--save_state"];
  // Two steps an epoch; the end of the last one is the end of the run.
  const { folder: output } = await runLine(folder, [...line, "--max_train_epochs=4"]);
  const names = (await readdir(output)).filter((name) => !name.endsWith("_run")).sort();
  deepEqual(names, [
    "clothes-000003-state",
    "clothes-000003.safetensors",
    "clothes-state",
    "clothes.safetensors",
    "clothes_2-000003.safetensors",
    "clothes_2.safetensors",
  ]);
});

Deno.test("a run that resumes gives each network its own state back", async () => {
  const whole = await savedRun();
  const rest = await runLine(folder, [
    ...pairLine(folder),
    `--resume=${join(whole.folder, "clothes-step00000002-state")}`,
  ]);
  ok(sameWeights(rest.loras.last, whole.loras.clothes));
  ok(sameWeights(rest.loras.last_2, whole.loras.outfit));
  ok(!sameWeights(rest.loras.last, rest.loras.last_2));
});

Deno.test("network 2's metadata are about network 2", async () => {
  const { loras: { last, last_2 } } = await fractionsRun();
  const said = ["ss_network_alpha", "ss_dataset_dirs", "ss_reg_dataset_dirs"];
  deepEqual(said.map((key) => last.metadata.get(key)), [
    "4.0",
    '{"1_sks person": {"n_repeats": 1, "img_count": 2}}',
    "{}",
  ]);
  deepEqual(said.map((key) => last_2.metadata.get(key)), [
    "2.0",
    '{"1_zkz clothes": {"n_repeats": 1, "img_count": 2}}',
    '{"1_person": {"n_repeats": 1, "img_count": 2}}',
  ]);
});

Deno.test("orthogonality is logged", async () => {
  const run = await fractionsRun();
  const logs = join(folder, "logs"), [name] = (await readdir(logs)).filter((each) => each.startsWith("orthogonal"));
  const [curves] = await readdir(join(logs, name, "network_train_2"));
  const events = readEvents(await readFile(join(logs, name, "network_train_2", curves)));
  for (const term of ["orth_te", "orth_unet"]) {
    const logged = events.flatMap(({ scalars }) => `loss/${term}` in scalars ? [scalars[`loss/${term}`]] : []);
    deepEqual(logged, figures(run, 2).map((values) => Math.fround(values[term])));
  }
});

Deno.test("in fp16 both networks get the gradients that they get in f32, also against a frozen network 1", async () => {
  const pairs = [strongLine(), frozenLine()].map(async (line) => [
    await runLine(folder, line),
    await runLine(folder, [...line, "--mixed_precision=fp16"]),
  ]);
  const [[full, half], [frozenFull, frozenHalf]] = [await pairs[0], await pairs[1]];
  // Sums are f32 in both; rounding weights and activations to f16 leaves norms to a few parts in a thousand (2⁻¹¹ a number).
  const same = (one: LineResult, two: LineResult, number: 1 | 2, what: string) => {
    const [wanted, found] = [one, two].map((run) => figures(run, number).slice(0, 2).map(({ norm }) => norm));
    found.forEach((norm, step) => near(norm, wanted[step], `${what} ${number}, step ${step}`, 0.02 * wanted[step]));
  };
  for (const number of [1, 2] as const) {
    same(full, half, number, "network");
    same(frozenFull, frozenHalf, number, "frozen: network");
  }
  // Network 1 has its one step of pretraining, and stays; all of network 2's steps count.
  deepEqual([frozenHalf.networks.network1.log.length, figures(frozenHalf, 2).length], [1, 4]);
  ok(upNorm(frozenHalf.loras.last) > 0 && upNorm(frozenHalf.loras.last_2) > upNorm(frozenHalf.loras.last));
});

Deno.test("sample_prompts make pictures of each network and of both", async () => {
  const { folder: output } = await savedRun();
  const names = (await readdir(join(output, "sample"))).map((name) => name.replace(/_\d{14}_/, " ")).sort();
  deepEqual(names, ["clothes 000004_00_1.png", "clothes_stack 000004_00_1.png", "outfit 000004_00_1.png"]);
  const pictures = await Promise.all(
    (await readdir(join(output, "sample"))).map(async (name) =>
      (await readFile(join(output, "sample", name))).toString("base64")
    ),
  );
  equal(new Set(pictures).size, 3, "a network and the stack paint the same");
});
