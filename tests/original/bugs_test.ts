/**
 * What is broken in the original script and works here: one test for each, named after what works.
 *
 * @module
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readEvents } from "../../formats/tensorboard/_test_events.ts";
import { planRecipe } from "../../cli/recipe/plan_recipe.ts";
import * as d from "../../mod.ts";
import { datasetOf, readTrainingData } from "../../steps/values/training_data.ts";
import { settingsOfLine } from "../cli/parse_line.ts";
import { makeData, pairLine, runLine } from "./run_line.ts";

/** One folder for all tests, so that runs which several compare with run once. */
let folder = "";

Deno.test.beforeAll(async () => {
  folder = await Deno.makeTempDir({ prefix: "dualora-original-" });
  await makeData(folder);
});

Deno.test.afterAll(() => Deno.remove(folder, { recursive: true }));

/** Whether two files hold the same weights; their metadata may differ. */
function sameWeights(one: { modules: unknown }, two: { modules: unknown }): boolean {
  try {
    deepEqual(one.modules, two.modules);
    return true;
  } catch {
    return false;
  }
}

Deno.test("both networks are saved, each under a name of its own, and either name can be chosen", async () => {
  const line = pairLine(folder);
  const { loras } = await runLine(folder, [...line, "--output_name=clothes"]);
  deepEqual(Object.keys(loras), ["clothes", "clothes_2"]);
  ok(!sameWeights(loras.clothes, loras.clothes_2));
  deepEqual(Object.keys((await runLine(folder, [...line, "--output_name_2=outfit"])).loras), ["last", "outfit"]);
});

Deno.test("any anneal_epoch runs, with half_annel_epoch and with half_anneal_epoch", async () => {
  const line = [...pairLine(folder), "--orth_te_coefficient=1000000", "--anneal_epoch=2"];
  const run = async (...more: string[]) => (await runLine(folder, [...line, ...more])).loras.last_2;
  const one = await run("--max_train_epochs=3", "--half_annel_epoch=1");
  ok(sameWeights(one, await run("--max_train_epochs=3", "--half_anneal_epoch=1")));
  // The loss is on from the third epoch on, and after the second: off in the first two, on in the third.
  const off = ["--orth_te_coefficient=0", "--orth_unet_coefficient=0"];
  ok(sameWeights(await run("--max_train_epochs=2", "--half_annel_epoch=1"), await run("--max_train_epochs=2", ...off)));
  ok(!sameWeights(one, await run("--max_train_epochs=3", ...off)));
});

Deno.test("freezing works without weights and with both spellings of False, True, 0 and 1", async () => {
  const line = [...pairLine(folder), "--pretrain_steps=2"];
  const frozen = await runLine(folder, [...line, "--freeze_network_1=True"]);
  const again = await runLine(folder, [...line, "--freeze_network_1", "1"]);
  ok(sameWeights(frozen.loras.last_2, again.loras.last_2));
  // Network 1 stays as its two steps of pretraining left it.
  equal(frozen.networks.network1.log.length, 2);
  const half = await runLine(folder, [...line, "--semi_freeze_network_1", "--anneal_epoch=1", "--max_train_steps=4"]);
  equal(half.networks.network1.log.length, 4);
  const free = await runLine(folder, pairLine(folder));
  const notFrozen = await runLine(folder, [
    ...pairLine(folder),
    "--freeze_network_1=False",
    "--semi_freeze_network_1=false",
  ]);
  ok(sameWeights(free.loras.last, notFrozen.loras.last));
  equal(free.networks.network1.log.length, 4);
});

Deno.test("a base model given twice is one for each network, given once it serves both", async () => {
  const line = pairLine(folder), once = await runLine(folder, line);
  const twice = await runLine(folder, ["--pretrained_model_name_or_path=toy", ...line]);
  const named = await runLine(folder, [...line, "--pretrained_model_name_or_path_2=toy"]);
  for (const { loras } of [twice, named]) ok(sameWeights(loras.last_2, once.loras.last_2));
  const { values } = await settingsOfLine(["--pretrained_model_name_or_path=a", "--pretrained_model_name_or_path=b"]);
  deepEqual([values.pretrained_model_name_or_path, values.pretrained_model_name_or_path_2], ["a", "b"]);
});

Deno.test("gradient checkpointing leaves the text encoder's term its gradient: the same weights, bit for bit", async () => {
  const line = [...pairLine(folder), "--orth_te_coefficient=1000000"];
  const kept = await runLine(folder, line), again = await runLine(folder, [...line, "--gradient_checkpointing"]);
  deepEqual(again.loras.last_2.modules, kept.loras.last_2.modules);
  // The term moves weights at all.
  const without = await runLine(folder, [...pairLine(folder), "--orth_te_coefficient=0", "--gradient_checkpointing"]);
  ok(!sameWeights(without.loras.last_2, again.loras.last_2));
});

Deno.test("sizes that are not square, other sizes and other batches for network 2, and buckets", async () => {
  const line = pairLine(folder);
  const { networks } = await runLine(folder, [
    ...line,
    "--resolution=64,128",
    "--resolution_2=128",
    "--train_batch_size_2=2",
  ]);
  for (const { log } of [networks.network1, networks.network2!]) {
    equal(log.length, 4);
    ok(log.every(({ values }) => Object.values(values).every(Number.isFinite)));
  }
  await runLine(folder, [
    ...line,
    "--resolution=128",
    "--enable_bucket",
    "--min_bucket_reso=64",
    "--max_bucket_reso=256",
    "--train_batch_size=2",
  ]);
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
  const fromFolder = await runLine(folder, pairLine(folder));
  ok(sameWeights(fromFile.loras.last_2, fromFolder.loras.last_2));
  const unet = await runLine(folder, [...pairLine(folder), "--network_train_unet_only"]);
  const text = await runLine(folder, [...pairLine(folder), "--network_train_text_encoder_only"]);
  for (const name of ["last", "last_2"]) {
    ok(unet.loras[name].modules.every((module) => module.name.startsWith("lora_unet_")));
    ok(text.loras[name].modules.every((module) => module.name.startsWith("lora_te_")));
  }
});

Deno.test("min_snr_gamma, noise_offset, max_grad_norm and kld_coefficient change what is trained", async () => {
  const plain = await runLine(folder, pairLine(folder));
  for (const flag of ["--min_snr_gamma=1", "--noise_offset=0.5", "--max_grad_norm=0.000001", "--kld_coefficient=-10"]) {
    const changed = await runLine(folder, [...pairLine(folder), flag]);
    for (const name of ["last", "last_2"]) {
      ok(!sameWeights(changed.loras[name], plain.loras[name]), `${flag} and ${name}`);
    }
  }
});

Deno.test("captions are left out in every second epoch only, and grow with the steps", async () => {
  const line = [...pairLine(folder), "--network_train_text_encoder_only"];
  const weights = async (...flags: string[]) => (await runLine(folder, [...line, ...flags])).loras.last;
  // The first epoch of two has its captions: the original counts no epochs and drops them in all.
  const oneEpoch = await weights("--max_train_epochs=1");
  ok(sameWeights(await weights("--max_train_epochs=1", "--caption_dropout_every_n_epochs=2"), oneEpoch));
  ok(!sameWeights(await weights("--max_train_epochs=1", "--caption_dropout_every_n_epochs=1"), oneEpoch));
  // At the first step all begin with one tag; one that counts no steps would stay there.
  const short = ["--token_warmup_step=2"], long = ["--token_warmup_step=1000000"];
  ok(sameWeights(await weights("--max_train_steps=1", ...short), await weights("--max_train_steps=1", ...long)));
  ok(!sameWeights(await weights("--max_train_steps=4", ...short), await weights("--max_train_steps=4", ...long)));
});

Deno.test("buckets are shuffled anew in each epoch", async () => {
  const line = [
    `--train_data_dir=${d.toy.character}`,
    "--caption_extension=.txt",
    "--resolution=128",
    "--enable_bucket",
    "--max_bucket_reso=256",
  ];
  const plan = await planRecipe(
    await settingsOfLine([...line, "--min_bucket_reso=64", "--pretrained_model_name_or_path=toy", "--output_dir=out"]),
  );
  const options = plan.calls.find(([step]) => step === "readDatasets")![1] as d.ReadDatasetsOptions;
  const { data } = await readTrainingData(options), set = datasetOf(data.network1);
  const order = (epoch: number) => set.epoch(epoch).map(({ samples }) => samples.map(({ image }) => image.path));
  const [first, second] = [order(0), order(1)];
  equal(first.length, second.length);
  deepEqual(first.flat().sort(), second.flat().sort());
  ok(JSON.stringify(first) !== JSON.stringify(second));
});

Deno.test("coefficients are fractions, each network's file has its own alpha, and orthogonality is in the figures", async () => {
  // The middle block needs two cells a side: at 64 pixels it has one.
  const line = [...pairLine(folder), "--resolution=128", "--network_alpha_2=2", "--network_dim_2=8"];
  const half = await runLine(folder, [...line, "--orth_unet_coefficient=0.5"]), full = await runLine(folder, line);
  ok(!sameWeights(half.loras.last_2, full.loras.last_2));
  const metadata = ["last", "last_2"].map((name) =>
    ["ss_network_dim", "ss_network_alpha"].map((key) => full.loras[name].metadata.get(key))
  );
  deepEqual(metadata.map((each) => each.map(Number)), [[4, 4], [8, 2]]);
  deepEqual(["last", "last_2"].map((name) => full.loras[name].modules[0].alpha), [4, 2]);
  for (const { log } of [full.networks.network1, full.networks.network2!]) {
    for (const { values } of log.slice(1)) ok(values.orth_te > 0 && values.orth_unet > 0);
  }
});

Deno.test("a machine without CUDA trains: these tests ran on whatever adapter WebGPU gave", async () => {
  const { events } = await runLine(folder, pairLine(folder));
  ok(events.some((event) => event.type === "step-finished" && event.step === "train both networks"));
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
  const first = await runLine(folder, [...pairLine(folder), "--output_name=first"]);
  const [one, two] = ["first.safetensors", "first_2.safetensors"].map((file) => join(first.folder, file));
  // At such a rate nothing moves: what comes out is what went in.
  const still = [...pairLine(folder), "--learning_rate=1e-20", "--max_train_steps=1"];
  const loaded = await runLine(folder, [...still, `--network_weights=${one}`, `--network_weights_2=${two}`]);
  ok(sameWeights(loaded.loras.last, first.loras.first));
  ok(sameWeights(loaded.loras.last_2, first.loras.first_2));
  const frozen = await runLine(folder, [...pairLine(folder), "--freeze_network_1", `--network_weights=${one}`]);
  ok(sameWeights(frozen.loras.last, first.loras.first));
  ok(!sameWeights(frozen.loras.last_2, first.loras.first_2));
});

Deno.test("the alpha of loaded weights is the scale in use, and is saved again", async () => {
  const line = pairLine(folder);
  const low = await runLine(folder, [...line, "--network_alpha=2", "--output_name=low"]);
  const weights = [
    `--network_weights=${join(low.folder, "low.safetensors")}`,
    `--network_weights_2=${join(low.folder, "low_2.safetensors")}`,
  ];
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
  const line = [...pairLine(folder), "--save_every_n_steps=2", "--save_state"];
  const whole = await runLine(folder, line);
  const rest = await runLine(folder, [...line, `--resume=${join(whole.folder, "at-step00000002-state")}`]);
  for (const name of ["last", "last_2"]) deepEqual(rest.loras[name].modules, whole.loras[name].modules);
  ok(!sameWeights(whole.loras.last, whole.loras.last_2));
});

Deno.test("network 2's metadata are about network 2", async () => {
  const line = [...pairLine(folder), "--network_alpha_2=2", "--reg_data_dir_2=" + join(folder, "people")];
  const { loras: { last, last_2 } } = await runLine(folder, line);
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
  await runLine(folder, [...pairLine(folder), "--log_prefix=orthogonal"]);
  const logs = join(folder, "logs"), [name] = (await readdir(logs)).filter((each) => each.startsWith("orthogonal"));
  const [curves] = await readdir(join(logs, name, "network_train_2"));
  const events = readEvents(await readFile(join(logs, name, "network_train_2", curves)));
  for (const tag of ["loss/orth_te", "loss/orth_unet"]) equal(events.filter(({ scalars }) => tag in scalars).length, 4);
});

Deno.test("in fp16 both networks get the gradients that they get in f32, and a frozen network 1 trains with it", async () => {
  const line = [...pairLine(folder), "--orth_te_coefficient=1000000", "--max_grad_norm=0"];
  const full = await runLine(folder, line), half = await runLine(folder, [...line, "--mixed_precision=fp16"]);
  // Sums are f32 in both; rounding weights and activations to f16 leaves norms to a few parts in a thousand (2⁻¹¹ a number).
  for (const [number, name] of [[1, "network1"], [2, "network2"]] as const) {
    const [wanted, found] = [full, half].map(({ networks }) => networks[name]!.log[1].values[`norm_${number}`]);
    ok(Math.abs(found - wanted) < 0.02 * wanted, `${name}: ${found}, in f32 ${wanted}`);
  }
  const { networks } = await runLine(folder, [
    ...line,
    "--mixed_precision=fp16",
    "--freeze_network_1",
    "--pretrain_steps=1",
  ]);
  equal(networks.network2!.log.length, 4);
});

Deno.test("sample_prompts make pictures of each network and of both", async () => {
  const prompts = join(folder, "prompts.txt");
  await writeFile(prompts, "sks person --w 64 --h 64 --s 2 --d 1\n");
  const line = [
    ...pairLine(folder),
    `--sample_prompts=${prompts}`,
    "--sample_every_n_steps=4",
    "--sample_sampler=euler",
  ];
  const { folder: output } = await runLine(folder, line);
  const names = await readdir(join(output, "sample"));
  equal(names.length, 3, names.join());
  const pictures = await Promise.all(
    names.map(async (name) => (await readFile(join(output, "sample", name))).toString("base64")),
  );
  equal(new Set(pictures).size, 3, "a network and the stack paint the same");
});
