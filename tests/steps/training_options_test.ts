import { deepEqual, equal, notEqual } from "node:assert/strict";
import { join } from "node:path";
import * as d from "../../mod.ts";
import { NoiseSchedule } from "../../models/noise/schedule.ts";
import type { OpenedBases } from "../../steps/values/bases.ts";
import { trainingNoise } from "../../steps/values/training_loop.ts";
import type { TrainingOptions } from "../../steps/values/training_options.ts";
import { inNewFolder, keptNetwork, runRecorded, smallData } from "./small_training.ts";

Deno.test("the base says what is predicted unless vParameterization does, and zeroTerminalSnr ends in noise alone", () => {
  const noise = (predictionType: "epsilon" | "v_prediction", options: TrainingOptions) =>
    trainingNoise({ network1: { schedule: new NoiseSchedule({ predictionType }) } } as OpenedBases, options);
  for (const base of ["epsilon", "v_prediction"] as const) {
    equal(noise(base, {}).predictionType, base);
    equal(noise(base, { vParameterization: true }).predictionType, "v_prediction");
    equal(noise(base, { vParameterization: false }).predictionType, "epsilon");
  }
  const [plain, ending] = [{}, { zeroTerminalSnr: true }].map((options) => noise("epsilon", options).alphasCumprod);
  // Stable Diffusion v1.5's own, as diffusers has it.
  equal(plain[999].toFixed(6), "0.004660");
  equal(ending[999], 0);
  equal(ending[0], plain[0]);
});

Deno.test("trainBoth() and trainNetwork2() train each network by its own options", () =>
  inNewFolder(async (folder) => {
    const data = await smallData(folder);
    const start = d.pipeline("own")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDreambooth({ ...data, resolution: 64, batchSize: 1 }))
      .use(d.cacheLatents());
    const shared = {
      rank: 2,
      steps: 2,
      learningRate: 1e-3,
      unetLearningRate: 2e-3,
      orthogonality: { textEncoder: 0, unet: 0 },
    };
    const own: d.OwnTrainingOptions = {
      learningRate: 1,
      unetLearningRate: 1,
      optimizer: "Prodigy",
      schedule: "linear",
      lossType: "l1",
    };
    const figuresOf = async (
      step: string,
      recipe: { run(options: d.RunOptions<never>): Promise<d.RunResult<unknown>> },
    ) => {
      equal((await runRecorded(recipe, { folder: join(folder, "run") })).error, null);
      const networks = [1, 2].map((number) => keptNetwork(join(folder, "run"), step, `network${number}`));
      return (await Promise.all(networks)).map(({ log }) => log.at(-1)!.values);
    };
    const rates = (values: Readonly<Record<string, number>>, k: 1 | 2) =>
      ["text_encoder", "unet"].map((part) => values[`learning_rate_${part}_${k}`]);

    const alike = await figuresOf("train-both-networks", start.use(d.trainBoth(shared)));
    const apart = await figuresOf("train-both-networks", start.use(d.trainBoth({ ...shared, network2: own })));
    deepEqual([rates(alike[0], 1), rates(alike[1], 2)], [[1e-3, 2e-3], [1e-3, 2e-3]]);
    deepEqual([rates(apart[0], 1), rates(apart[1], 2)], [[1e-3, 2e-3], [0.5, 0.5]]);
    equal(apart[0].loss_1, alike[0].loss_1);
    notEqual(apart[1].loss_2, alike[1].loss_2);
    deepEqual(["d_2" in alike[1], "d_2" in apart[1]], [false, true]);

    const thawed = await figuresOf(
      "train-network-2",
      start.use(d.pretrainNetwork1({ rank: 2, steps: 1 })).use(d.freezeNetwork1({ mode: "none" }))
        .use(d.trainNetwork2({ ...shared, network1: own })),
    );
    deepEqual([rates(thawed[0], 1), rates(thawed[1], 2)], [[0.5, 0.5], [1e-3, 2e-3]]);
    deepEqual(["d_1" in thawed[0], "d_2" in thawed[1]], [true, false]);
  }));
