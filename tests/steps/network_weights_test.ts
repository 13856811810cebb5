import { deepEqual, equal, match, notDeepEqual, ok } from "node:assert/strict";
import { join } from "node:path";
import { readLora, writeLora } from "../../formats/lora_file.ts";
import * as d from "../../mod.ts";
import { openBases } from "../../steps/values/bases.ts";
import { inNewFolder, keptNetwork, runRecorded, smallData } from "./small_training.ts";

const { network1, network2 } = d.things;

/** Data and latents for small trainings. */
async function prepared(folder: string, name: string) {
  return d.pipeline(name)
    .use(d.loadBases({ network1: "toy" }))
    .use(d.readDreambooth({ ...await smallData(folder), resolution: 64, batchSize: 1 }))
    .use(d.cacheLatents({ folder: join(folder, "latents") }));
}

/** A LoRA file of two modules of rank 4 with alpha 2, up projections not 0. */
async function writeTwoModules(path: string, seed = 1, rank = 4): Promise<void> {
  const values = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(seed + i) / 20);
  const { network1: base } = await openBases({ network1: "toy" }, {});
  const whole = d.buildNetwork("network 1", base, { rank }),
    names = [
      "lora_te_text_model_encoder_layers_9_mlp_fc2",
      "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q",
    ];
  await writeLora(
    path,
    names.map((name) => {
      const { down, up } = whole.module(name)!;
      return {
        name,
        alpha: 2,
        down: { shape: down.shape, values: values(down.sizeElements) },
        up: { shape: up.shape, values: values(up.sizeElements) },
      };
    }),
  );
}

Deno.test("a network that goes on from a file scales by the file's alpha, not by --network_alpha, and keeps it", () =>
  inNewFolder(async (folder) => {
    const file = join(folder, "start.safetensors"), training = { rank: 4, weights: file, steps: 1, learningRate: 1e-3 };
    await writeTwoModules(file);
    const losses: number[] = [];
    for (const alpha of [2, 16]) {
      const run = join(folder, `alpha ${alpha}`);
      const recipe = (await prepared(folder, "weights"))
        .use(d.pretrainNetwork1({ ...training, alpha, ranksFromWeights: true }))
        .use(d.saveNetworks({ folder: run, networks: { network1 } }));
      equal((await runRecorded(recipe, { folder: run })).error, null);
      const { log } = await keptNetwork(run, "pretrain-network-1", "network1");
      losses.push(log[0].values.loss_1);
      const { modules } = await readLora(join(run, "network1.safetensors"));
      deepEqual(modules.map(({ alpha, down }) => [alpha, down.shape[0]]), [[2, 4], [2, 4]]);
    }
    equal(losses[0], losses[1]);
  }));

Deno.test("training starts from a file's weights; modules that it lacks start anew, and a changed file trains again", () =>
  inNewFolder(async (folder) => {
    const file = join(folder, "start.safetensors"), run = join(folder, "run");
    await writeTwoModules(file);
    const recipe = async (unetLearningRate = 0) =>
      (await prepared(folder, "weights")).use(
        d.pretrainNetwork1({ rank: 4, weights: file, steps: 1, textEncoderLearningRate: 0, unetLearningRate }),
      );
    equal((await runRecorded(await recipe(), { folder: run })).error, null);
    const { options, weights } = await keptNetwork(run, "pretrain-network-1", "network1");
    const bases = await openBases({ network1: "toy" }, {});
    const lora = d.buildNetwork("network 1", bases.network1, options), { modules } = await readLora(file);
    const kept = new Map([...lora.unflatten(weights)].map(([{ name }, values]) => [name, values]));
    ok(kept.size > modules.length);
    for (const { name, down, up } of modules) deepEqual(kept.get(name), { down: down.values, up: up.values });
    const other = lora.modules.find(({ name }) => !modules.some((each) => each.name === name))!;
    ok(kept.get(other.name)!.down.some((value) => value !== 0));
    ok(kept.get(other.name)!.up.every((value) => value === 0));
    deepEqual([lora.module(modules[0].name)!.alpha, other.alpha], [2, 4]);

    await writeTwoModules(file, 2);
    deepEqual((await runRecorded(await recipe(), { folder: run })).ran.at(-1), "pretrain network 1");
    notDeepEqual((await keptNetwork(run, "pretrain-network-1", "network1")).weights, weights);
  }));

Deno.test("trainBoth() starts network 2 from a file of its own, never from network 1's", () =>
  inNewFolder(async (folder) => {
    const [one, two] = ["1", "2"].map((name) => join(folder, `${name}.safetensors`)), run = join(folder, "run");
    await writeTwoModules(one);
    await writeTwoModules(two, 3, 2);
    const still = { textEncoderLearningRate: 0, unetLearningRate: 0, steps: 1, rank: 4 };
    const started = async (network2: d.Network2Options) => {
      const recipe = (await prepared(folder, "both")).use(
        d.trainBoth({ ...still, weights: one, ranksFromWeights: true, network2 }),
      );
      const { values } = await recipe.run({ folder: run, keep: ["network1", "network2"] });
      return [values.network1, values.network2].map(({ options }) => Object.keys(options.modules ?? {}).length);
    };
    deepEqual(await started({}), [2, 0]);
    deepEqual(await started({ weights: two, ranksFromWeights: true }), [2, 2]);
  }));

Deno.test("a file whose ranks are not the network's is refused before anything is trained, naming the module and what to do", () =>
  inNewFolder(async (folder) => {
    const file = join(folder, "start.safetensors");
    await writeTwoModules(file);
    const recipe = (await prepared(folder, "ranks")).use(d.pretrainNetwork1({ rank: 8, weights: file, steps: 1 }));
    const { error } = await runRecorded(recipe, { folder: join(folder, "run") });
    match(
      error!.message,
      /^Cannot train network 1 from .*start\.safetensors: lora_te_\S+\.lora_down\.weight is \[4, 192\], the network has \[8, 192\]; give the file's rank, or ranksFromWeights/,
    );
  }));

Deno.test("loadNetwork1() takes network 1 from a file, and a frozen one is trained against as it is", () =>
  inNewFolder(async (folder) => {
    const file = join(folder, "start.safetensors");
    await writeTwoModules(file);
    const recipe = (await prepared(folder, "load"))
      .use(d.loadNetwork1({ weights: file }))
      .use(d.freezeNetwork1({ mode: "full" }))
      .use(d.trainNetwork2({ rank: 2, steps: 2, learningRate: 1e-3 }))
      .use(d.saveNetworks({ folder, networks: { network1, network2 } }));
    const plan = await recipe.describe();
    equal(plan.steps.find(({ name }) => name === "load network 1")!.figures.modules, 2);
    equal((await runRecorded(recipe, { folder: join(folder, "run") })).error, null);
    const [before, after] = [await readLora(file), await readLora(join(folder, "network1.safetensors"))];
    deepEqual(after.modules, before.modules);
    const { log } = await keptNetwork(join(folder, "run"), "train-network-2", "network2");
    ok(log.at(-1)!.values.orth_te > 0);
  }));
