import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import * as d from "../../mod.ts";
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
