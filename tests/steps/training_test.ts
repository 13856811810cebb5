import { deepEqual, equal, match, notDeepEqual, ok } from "node:assert/strict";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { SafetensorsFile } from "../../formats/safetensors.ts";
import * as d from "../../mod.ts";
import { inNewFolder, keptNetwork, runRecorded, smallData } from "./small_training.ts";

const { network1, network2 } = d.things;

Deno.test("training that was interrupted goes on to the same bits, and running again redoes only what changed", () =>
  inNewFolder(async (folder) => {
    const data = await smallData(folder);
    // An epoch is two steps. Network 1 is frozen in epochs 0 and 1 and trains in epoch 2.
    const recipe = (learningRate2 = 1e-3) => {
      const training = { rank: 4, checkpointEvery: 3, seed: 7 };
      return d.pipeline("small")
        .use(d.loadBases({ network1: "toy" }))
        .use(d.readDreambooth({ ...data, resolution: 128, batchSize: 1 }))
        .use(d.cacheLatents({ folder: join(folder, "latents") }))
        .use(d.pretrainNetwork1({ ...training, learningRate: 1e-3, steps: 3 }))
        .use(d.freezeNetwork1({ mode: "semi", annealEpoch: 2 }))
        .use(d.trainNetwork2({ ...training, learningRate: learningRate2, steps: 6 }));
    };
    const whole = join(folder, "whole"), stopped = join(folder, "stopped");
    equal((await runRecorded(recipe(), { folder: whole })).error, null);

    // Nothing changed: nothing runs, and nothing is loaded.
    const again = await runRecorded(recipe(), { folder: whole });
    deepEqual([...new Set(again.events.flatMap((event) => "step" in event ? [event.type] : []))], ["step-unchanged"]);

    const stop = new AbortController();
    const onEvent = (event: d.RunEvent) => {
      if (event.type === "progress" && event.step === "train network 2" && event.done === 3) stop.abort();
    };
    const first = await runRecorded(recipe(), { folder: stopped, signal: stop.signal, onEvent });
    ok(first.error instanceof d.InterruptedError, `${first.error}`);

    // In the middle of epoch 1: network 1 is still what it was.
    const work = join(stopped, "steps", "06-train-network-2", "work", "checkpoint-00000003");
    const start = await keptNetwork(stopped, "pretrain-network-1", "network1");
    {
      await using checkpoint = await SafetensorsFile.open(join(work, "state.safetensors"));
      equal(JSON.parse(await readFile(join(work, "manifest.json"), "utf8")).step, 3);
      deepEqual(await checkpoint.float32("0.weights"), start.weights);
    }

    const second = await runRecorded(recipe(), { folder: stopped });
    equal(second.error, null);
    ok(second.events.some((event) => event.type === "step-started" && event.resumes));
    deepEqual(second.ran, ["load bases", "read data", "cache latents", "freeze network 1", "train network 2"]);
    for (const name of ["network1", "network2"]) {
      const [a, b] = [
        await keptNetwork(whole, "train-network-2", name),
        await keptNetwork(stopped, "train-network-2", name),
      ];
      deepEqual(b.weights, a.weights);
      deepEqual(b.log, a.log);
    }

    // Thawed in epoch 2: network 1 has its own two steps after the three of its pretraining.
    const thawed = await keptNetwork(whole, "train-network-2", "network1");
    notDeepEqual(thawed.weights, start.weights);
    deepEqual(thawed.log.map(({ step, epoch }) => [step, epoch]), [[0, 0], [1, 0], [2, 1], [4, 2], [5, 2]]);
    const learned = await keptNetwork(whole, "train-network-2", "network2");
    deepEqual(learned.log.map(({ step, epoch }) => [step, epoch]), [[0, 0], [1, 0], [2, 1], [3, 1], [4, 2], [5, 2]]);

    // Another learning rate of network 2: network 1 is not pretrained again.
    const changed = await runRecorded(recipe(2e-3), { folder: whole });
    deepEqual(changed.ran, ["load bases", "read data", "cache latents", "freeze network 1", "train network 2"]);
    ok(
      changed.events.some((event) => event.type === "step-started" && event.because === "options.learningRate changed"),
    );
    notDeepEqual((await keptNetwork(whole, "train-network-2", "network2")).weights, learned.weights);
  }));

Deno.test("a frozen network 1 stays as it was, bit by bit", () =>
  inNewFolder(async (folder) => {
    const training = { rank: 2, steps: 2, learningRate: 1e-3 };
    const recipe = d.pipeline("frozen")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDreambooth({ ...await smallData(folder), resolution: 64, batchSize: 1 }))
      .use(d.cacheLatents())
      .use(d.pretrainNetwork1(training))
      .use(d.freezeNetwork1({ mode: "full" }))
      .use(d.trainNetwork2(training));
    equal((await runRecorded(recipe, { folder })).error, null);
    deepEqual(
      await keptNetwork(folder, "train-network-2", "network1"),
      await keptNetwork(folder, "pretrain-network-1", "network1"),
    );
    const { log } = await keptNetwork(folder, "train-network-2", "network2");
    ok(log.every(({ values }) => "orth_te" in values && !("norm_1" in values)));
  }));

/** Trains both networks for a step or two and gives back what they became. */
async function trainSmall(
  folder: string,
  reading: Partial<d.ReadDreamboothOptions>,
  training: Omit<d.TrainNetwork2Options, "learningRate">,
): Promise<d.Network[]> {
  const recipe = d.pipeline("both")
    .use(d.loadBases({ network1: "toy" }))
    .use(d.readDreambooth({ ...await smallData(folder), resolution: 64, batchSize: 1, ...reading }))
    .use(d.cacheLatents())
    .use(d.trainBoth({ learningRate: 1e-3, ...training }))
    .use(d.saveNetworks({ folder, networks: { network1, network2 } }));
  const { values } = await recipe.run({ folder: join(folder, "run"), keep: ["network1", "network2"] });
  const networks = [values.network1, values.network2];
  for (const { weights, log } of networks) {
    ok(weights.every(Number.isFinite));
    ok(log.flatMap(({ values }) => Object.values(values)).every(Number.isFinite));
    equal(log.length, training.steps);
  }
  return networks;
}

Deno.test("trainBoth() takes pictures of other shapes and batches of other sizes for network 2; the UNet alone", () =>
  inNewFolder(async (folder) => {
    const sizes = { batchSize: 1, batchSize2: 2, resolution: 128, resolution2: [128, 192] as [number, number] };
    const [one, two] = await trainSmall(folder, sizes, { rank: 2, steps: 2, parts: ["unet"] });
    for (const { log } of [one, two]) for (const { values } of log) deepEqual("orth_te" in values, false);
    // Up weights begin at zero, so hidden layers are zero before the first update only.
    ok(two.log[1].values.orth_unet > 0);
    equal(two.log[0].values.orth_unet, 0);
  }));

Deno.test("trainBoth() gathers micro-batches; the text encoder alone", () =>
  inNewFolder(async (folder) => {
    // Two batches an epoch make one step of two micro-batches.
    const [one, two] = await trainSmall(folder, {}, {
      rank: 2,
      steps: 2,
      parts: ["text_encoder"],
      accumulationSteps: 2,
    });
    deepEqual(one.log.map(({ epoch }) => epoch), [0, 1]);
    for (const { values } of two.log) equal("orth_unet" in values, false);
  }));

Deno.test("trainBoth() with gradient checkpointing makes the same networks, bit by bit", () =>
  inNewFolder(async (folder) => {
    const [kept, again] = [join(folder, "kept"), join(folder, "again")];
    const training = { rank: 2, convRank: 2, steps: 3 };
    const plain = await trainSmall(kept, {}, training);
    const checkpointed = await trainSmall(again, {}, { ...training, gradientCheckpointing: true });
    for (const [k, { weights, log }] of plain.entries()) {
      deepEqual(checkpointed[k].weights, weights);
      deepEqual(checkpointed[k].log, log);
    }
  }));

Deno.test("trainBoth() trains 3×3 convolutions with a rank of their own", () =>
  inNewFolder(async (folder) => {
    await trainSmall(folder, {}, { rank: 2, convRank: 3, convAlpha: 1.5, steps: 1 });
    await using file = await SafetensorsFile.open(join(folder, "network1.safetensors"));
    const name = "lora_unet_down_blocks_0_resnets_0_conv1";
    deepEqual(file.entry(`${name}.lora_down.weight`).shape, [3, 32, 3, 3]);
    deepEqual(file.entry(`${name}.lora_up.weight`).shape, [32, 3, 1, 1]);
    deepEqual([...await file.float32(`${name}.alpha`)], [1.5]);
  }));

Deno.test("training that diverges stops at the last skipped step that is allowed, says where, and leaves nothing that looks good", () =>
  inNewFolder(async (folder) => {
    const recipe = d.pipeline("diverging")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDreambooth({ network1: (await smallData(folder)).network1, resolution: 64, batchSize: 1 }))
      .use(d.cacheLatents())
      .use(d.pretrainNetwork1({ rank: 2, steps: 6, learningRate: 1e30, maxSkippedInRow: 2 }))
      .use(d.saveNetworks({ folder, networks: { network1 } }));
    const { error, events, ran } = await runRecorded(recipe, { folder: join(folder, "run") });
    ok(error instanceof d.DivergedError, `${error}`);
    match(
      error.message,
      /^Training diverged in step 3: loss_1 is (NaN|-?Infinity), first in \w+ in network_1\.text_encoder\.text_model\.\S+; the 1 before it had/,
    );
    equal(error.step, 2);
    const warnings = events.filter((event) => event.type === "warning").map((event) => event.message);
    equal(warnings.length, 1);
    match(warnings[0], /^step 2 was skipped: loss_1 is .*\. It changed nothing; 1 in a row, 1 in all$/);
    deepEqual(ran, ["load bases", "read data", "cache latents"]);
    const failed = events.find((event) => event.type === "step-failed");
    equal(failed && d.eventText(failed), `pretrain network 1: failed: ${error.message}`);
    const step = join(folder, "run", "steps", "04-pretrain-network-1");
    deepEqual((await readdir(step)).sort(), ["started.json", "work"]);
    deepEqual(await readdir(join(step, "work")), []);
    equal(await stat(join(folder, "network1.safetensors")).catch(() => null), null);
  }));
