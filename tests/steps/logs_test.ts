import { deepEqual, equal, match, ok } from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { type ReadEvent, readEvents } from "../../formats/tensorboard/_test_events.ts";
import * as d from "../../mod.ts";
import { inNewFolder, keptNetwork, runRecorded, smallData } from "./small_training.ts";

/** Reads the one event file of a folder. */
async function eventsIn(folder: string): Promise<ReadEvent[]> {
  const [name, ...others] = await readdir(folder);
  deepEqual(others, []);
  match(name, /^events\.out\.tfevents\.\d{10}\./);
  return readEvents(await readFile(join(folder, name)));
}

/** A curve's values by step. */
function curve(events: readonly ReadEvent[], tag: string): [number, number][] {
  return events.flatMap(({ step, scalars }) => tag in scalars ? [[step, scalars[tag]] as [number, number]] : []);
}

// The files of this training were read once with PyPI's tensorboard 2.21.0, by
// `EventAccumulator(folder, size_guidance={"scalars": 0}).Reload()`: `Tags()["scalars"]` and `Scalars(tag)` gave the same names, steps and values
// as the lines of JSON beside them, for both networks.
Deno.test("logs hold each network's figures under sd-scripts' names, for TensorBoard and as lines of JSON", () =>
  inNewFolder(async (folder) => {
    // An epoch is two steps. Network 1 is frozen in the first, so its curves begin with the second.
    const logs = { folder: join(folder, "logs"), prefix: "a ", folder2: join(folder, "logs2"), prefix2: "b " };
    const training = { rank: 2, seed: 2 };
    const made = d.pipeline("logged")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDreambooth({ ...await smallData(folder), resolution: 64, batchSize: 1 }))
      .use(d.cacheLatents())
      .use(d.pretrainNetwork1({ ...training, steps: 1 }))
      .use(d.freezeNetwork1({ mode: "semi", annealEpoch: 1 }))
      .use(d.trainNetwork2({
        ...{ ...training, logs, steps: 5, learningRate: 1e-3, schedule: "linear", textEncoderLearningRate: 2e-3 },
        network1: { optimizer: "Prodigy", learningRate: 1, textEncoderLearningRate: 1 },
      }));
    equal((await runRecorded(made, { folder: join(folder, "run") })).error, null);

    const [time, ...none] = await readdir(logs.folder), [time2] = await readdir(logs.folder2);
    deepEqual(none, []);
    match(time, /^a \d{14}$/);
    equal(time2, time.replace("a", "b"));
    const one = await eventsIn(join(logs.folder, time, "network_train"));
    const two = await eventsIn(join(logs.folder2, time2, "network_train_2"));
    equal(two[0].version, "brain.Event:2");

    const { log } = await keptNetwork(join(folder, "run"), "train-network-2", "network2");
    const figure = (name: string) => log.map(({ step, values }) => [step + 1, Math.fround(values[name])]);
    for (
      const [tag, name] of [
        ["loss/current", "loss_2"],
        ["loss/mse", "mse_2"],
        ["loss/orth_te", "orth_te"],
        ["loss/orth_unet", "orth_unet"],
        ["loss/kld_te", "kld_te"],
        ["loss/kld_unet", "kld_unet"],
        ["norm/gradient", "norm_2"],
      ]
    ) {
      deepEqual(curve(two, tag), figure(name), tag);
      equal(curve(two, tag).length, 5);
    }
    // The loss is the MSE and both orthogonality terms, weights 1.
    for (const { values: { loss_2, mse_2, orth_te, orth_unet } } of log) {
      ok(Math.abs(loss_2 - mse_2 - orth_te - orth_unet) < 1e-6 * Math.max(1, loss_2));
    }
    // Falling from the rate in five steps to a fifth of it.
    const rates = [1, 0.8, 0.6, 0.4, 0.2].map((share, at) => [at + 1, share] as const);
    for (const [tag, rate] of [["lr/unet", 1e-3], ["lr/textencoder", 2e-3]] as const) {
      for (const [at, [step, value]] of curve(two, tag).entries()) {
        equal(step, rates[at][0]);
        ok(Math.abs(value - rate * rates[at][1]) < 1e-9);
      }
    }
    // Means over the last two steps, and at the ends of epochs, the last one half a one.
    const losses = log.map(({ values }) => values.loss_2);
    const means = losses.map((loss, at) => at === 0 ? loss : (losses[at - 1] + loss) / 2).map(Math.fround);
    deepEqual(curve(two, "loss/average"), means.map((mean, at) => [at + 1, mean]));
    deepEqual(curve(two, "loss/epoch"), [[1, means[1]], [2, means[3]], [3, means[4]]]);

    // Network 1: three steps, under the same names, and Prodigy's distance times the rate 1 of the falling schedule.
    deepEqual(curve(one, "loss/current").map(([step]) => step), [3, 4, 5]);
    equal(curve(one, "lr/d*lr").length, 3);

    const lines = (await readFile(join(logs.folder, time, "figures.jsonl"), "utf8")).trimEnd().split("\n").map((line) =>
      JSON.parse(line)
    );
    deepEqual(lines.map(({ step, epoch }) => [step, epoch]), [[1, 1], [2, 1], [3, 2], [4, 2], [5, 3]]);
    deepEqual(lines.map(({ loss_2 }) => loss_2), losses);
    ok("loss_1" in lines[2] && !("loss_1" in lines[1]));
  }));

Deno.test("a training that goes on logs all that was before as well", () =>
  inNewFolder(async (folder) => {
    const made = async (logs: string) =>
      d.pipeline("logged")
        .use(d.loadBases({ network1: "toy" }))
        .use(d.readDreambooth({ network1: (await smallData(folder)).network1, resolution: 64, batchSize: 1 }))
        .use(d.cacheLatents())
        .use(d.pretrainNetwork1({ rank: 2, steps: 4, logs: { folder: join(folder, logs) } }));
    const whole = await made("whole");
    equal((await runRecorded(whole, { folder: join(folder, "first") })).error, null);
    const stop = new AbortController(), stopped = await made("stopped"), run = join(folder, "second");
    const onEvent = (event: d.RunEvent) => {
      if (event.type === "progress" && event.message === "compiling") stop.abort();
    };
    const { error } = await runRecorded(stopped, { folder: run, signal: stop.signal, onEvent });
    ok(error instanceof d.InterruptedError, `${error}`);
    const starts = join(folder, "stopped"), [first] = await readdir(starts);
    // Names of folders hold seconds.
    await new Promise((done) => setTimeout(done, 1000));
    equal((await runRecorded(stopped, { folder: run })).error, null);
    const read = async (folder: string, time: string) =>
      (await eventsIn(join(folder, time, "network_train"))).map(({ step, scalars }) => [step, scalars]);
    const [, second] = (await readdir(starts)).sort(), [one] = await readdir(join(folder, "whole"));
    deepEqual(await read(starts, second), await read(join(folder, "whole"), one));
    equal(curve(await eventsIn(join(starts, first, "network_train")), "loss/current").length, 1);
  }));
