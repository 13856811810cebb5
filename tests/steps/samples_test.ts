import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { writeSafetensors } from "../../formats/safetensors.ts";
import * as d from "../../mod.ts";
import { toyTensors } from "../models/checkpoint_files.ts";
import { Meter } from "./meter.ts";
import { inNewFolder, runRecorded, smallData } from "./small_training.ts";

const { network1, network2 } = d.things;

Deno.test("pictures are made while training, with each network and with both, as sampling afterwards makes them", () =>
  inNewFolder(async (folder) => {
    const prompts = join(folder, "prompts.txt"), size = { width: 64, height: 72 };
    await writeFile(
      prompts,
      "# the second line's number is 01\na sks person --w 64 --h 79 --s 2 --d 5\na person --w 64 --h 64 --s 2 --l 1 --ss euler\n",
    );
    const samples = { folder, prompts, everySteps: 2, names: { network1: "mine" } };
    const trained = d.pipeline("sampled")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDreambooth({ ...await smallData(folder), resolution: 64, batchSize: 1 }))
      .use(d.cacheLatents())
      .use(d.trainBoth({ rank: 2, steps: 4, learningRate: 1e-2, seed: 9, samples }));
    const columns = ([["network1"], ["network2"], ["network1", "network2"]] as const).map((networks) => {
      return { name: networks.join(), prompt: "a sks person", networks };
    });
    const whole = trained.use(
      d.sample({ ...size, networks: { network1, network2 }, columns, rows: [{ text: "", seed: 5 }], steps: 2 }),
    );
    const run = join(folder, "run"), { error, events } = await runRecorded(whole, { folder: run });
    equal(error, null);
    const warnings = events.flatMap((event) => event.type === "warning" ? [event.message] : []);
    deepEqual(warnings, [`prompt 1 of ${prompts} is 64×72, not 64×79: multiples of 8, 64 at least`]);

    const names = (await readdir(join(folder, "sample"))).sort();
    equal(names.length, 12);
    const told = events.filter((event) => event.type === "artifact" && event.path.endsWith(".png"));
    equal(told.length, 12);
    for (const stack of ["mine", "mine_2", "mine_stack"]) {
      for (const end of ["000002_01_5", "000002_02", "000004_01_5", "000004_02"]) {
        const found = names.filter((name) => new RegExp(`^${stack}_\\d{14}_${end}\\.png$`).test(name));
        equal(found.length, 1, `${stack} ${end} in ${names}`);
      }
    }

    // The networks of the last step are those that the training gives.
    const { values } = await whole.run({ folder: run, keep: ["samples"] });
    const pixels = async (stack: string, end: string) => {
      const name = names.find((name) => new RegExp(`^${stack}_\\d{14}_${end}\\.png$`).test(name))!;
      const { data, info } = await sharp(join(folder, "sample", name)).raw().toBuffer({ resolveWithObject: true });
      deepEqual([info.width, info.height, info.channels], [64, 72, 3]);
      return new Uint8Array(data);
    };
    const stacks = ["mine", "mine_2", "mine_stack"];
    for (const [at, stack] of stacks.entries()) {
      deepEqual(await pixels(stack, "000004_01_5"), Uint8Array.from(values.samples.columns[at].pictures[0].pixels));
    }
    // Two steps before they were others.
    ok(Buffer.compare(await pixels("mine", "000002_01_5"), await pixels("mine", "000004_01_5")) !== 0);
  }));

/**
 * Pictures of networks whose training changes nothing that can be seen, by the names they begin with. Sees to it that they take the memory on the device
 * that was planned, to the byte.
 */
async function picturesOf(
  folder: string,
  bases: { readonly network1: string; readonly network2?: string },
  options: Partial<d.TrainBothOptions>,
): Promise<Map<string, Uint8Array>> {
  const prompts = join(folder, "prompts.txt"), meter = new Meter();
  await writeFile(prompts, "a sks person --w 64 --h 64 --s 2 --d 5 --ss euler\n");
  const samples = { folder, prompts, everySteps: 1, names: { network1: "mine" } };
  const made = d.pipeline("still")
    .use(d.loadBases(bases))
    .use(d.readDreambooth({ ...await smallData(folder), resolution: 64, batchSize: 1 }))
    .use(meter.step)
    .use(d.cacheLatents())
    .use(d.trainBoth({ rank: 2, steps: 1, learningRate: 1e-20, samples, ...options }));
  const planned = (await made.describe()).steps.find(({ name }) => name === "train both networks")!;
  const { error } = await runRecorded(made, { folder: join(folder, "run"), onEvent: meter.onEvent });
  equal(error, null);
  equal(meter.peaks.get(planned.name), planned.figures.peakGpuBytes);
  const pictures = new Map<string, Uint8Array>();
  for (const name of await readdir(join(folder, "sample"))) {
    const pixels = await sharp(join(folder, "sample", name)).raw().toBuffer();
    pictures.set(name.replace(/_\d{14}_.*$/, ""), new Uint8Array(pixels));
  }
  return pictures;
}

/** The toy with one file of JSON changed. */
async function changedToy(folder: string, file: string, change: object): Promise<string> {
  await cp(d.toy.base, folder, { recursive: true });
  const path = join(folder, file);
  await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, "utf8")), ...change }));
  return folder;
}

Deno.test("pictures while training velocity are read as velocity, whatever the base's configuration says", () =>
  inNewFolder(async (folder) => {
    const velocity = await changedToy(join(folder, "velocity"), "scheduler/scheduler_config.json", {
      prediction_type: "v_prediction",
    });
    const made = async (name: string, base: string, options: Partial<d.TrainBothOptions>) => {
      const own = join(folder, name);
      await mkdir(own);
      return await picturesOf(own, { network1: base }, options);
    };
    const noise = await made("noise", "toy", {}), asked = await made("asked", "toy", { vParameterization: true });
    const own = await made("own", velocity, {}), both = await made("both", velocity, { vParameterization: true });
    deepEqual([...noise.keys()].sort(), ["mine", "mine_2", "mine_stack"]);
    for (const stack of noise.keys()) {
      ok(Buffer.compare(noise.get(stack)!, asked.get(stack)!) !== 0, stack);
      // The toy and its copy differ in that configuration alone.
      deepEqual(asked.get(stack), own.get(stack));
      deepEqual(both.get(stack), own.get(stack));
    }
  }));

Deno.test("a frozen network is pictured too", () =>
  inNewFolder(async (folder) => {
    const prompts = join(folder, "prompts.txt");
    await writeFile(prompts, "a person --w 64 --h 64 --s 1 --d 5\n");
    const made = d.pipeline("frozen")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDreambooth({ ...await smallData(folder), resolution: 64, batchSize: 1 }))
      .use(d.cacheLatents())
      .use(d.pretrainNetwork1({ rank: 2, steps: 1 }))
      .use(d.freezeNetwork1({ mode: "full" }))
      .use(d.trainNetwork2({ rank: 2, steps: 1, samples: { folder, prompts, everySteps: 1 } }));
    equal((await runRecorded(made, { folder: join(folder, "run") })).error, null);
    const names = (await readdir(join(folder, "sample"))).map((name) => name.replace(/\d{14}/, "T")).sort();
    deepEqual(names, ["2_T_000001_00_5.png", "T_000001_00_5.png", "stack_T_000001_00_5.png"]);
  }));

Deno.test("network 2 alone is pictured on its own base, both networks on network 1's, in the memory that was planned for two bases", () =>
  inNewFolder(async (folder) => {
    const other = join(folder, "other"),
      unet = (await toyTensors("unet")).map(({ bytes, ...tensor }) => {
        return { ...tensor, bytes: tensor.name === "conv_in.weight" ? new Uint8Array(bytes.length) : bytes };
      });
    await cp(d.toy.base, other, { recursive: true });
    await writeSafetensors(join(other, "unet", "diffusion_pytorch_model.safetensors"), unet);
    const made = async (name: string, bases: { network1: string; network2?: string }) => {
      const own = join(folder, name);
      await mkdir(own);
      return await picturesOf(own, bases, {});
    };
    const unlike = await made("unlike", { network1: "toy", network2: other });
    const first = await made("first", { network1: "toy" }), second = await made("second", { network1: other });
    deepEqual(unlike.get("mine"), first.get("mine"));
    deepEqual(unlike.get("mine_2"), second.get("mine_2"));
    deepEqual(unlike.get("mine_stack"), first.get("mine_stack"));
    ok(Buffer.compare(unlike.get("mine")!, unlike.get("mine_2")!) !== 0);
  }));

Deno.test("prompts that cannot be used are found before the first step", () =>
  inNewFolder(async (folder) => {
    const prompts = join(folder, "prompts.txt");
    await writeFile(prompts, "a --ss wonder\n");
    const made = d.pipeline("refused")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDreambooth({ network1: (await smallData(folder)).network1, resolution: 64, batchSize: 1 }))
      .use(d.cacheLatents())
      .use(d.pretrainNetwork1({ rank: 2, steps: 1, samples: { folder, prompts, everyEpochs: 1 } }));
    const { error, ran } = await runRecorded(made, { folder: join(folder, "run") });
    match(
      `${error?.message}`,
      /prompts\.txt, line 1: Cannot sample with "wonder": this sampler does not exist; choose /,
    );
    await rejects(made.describe(), { name: "PromptFileError", message: error!.message });
    deepEqual(ran, []);
  }));
