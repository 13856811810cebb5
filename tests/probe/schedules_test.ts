import { deepEqual, equal, ok } from "node:assert/strict";
import { trainingLength } from "../../steps/values/training_loop.ts";
import { learningRateMultiplier, learningRateSchedules, stepMultiplier } from "../../training/learning_rate.ts";
import { epochPhase } from "../../training/phases.ts";
import { goldenJson } from "./golden_tensors.ts";

Deno.test("epochPhase() is the reference's truth table of freezing and annealing", async () => {
  const { epochs, cases } = await goldenJson("training/annealing");
  equal(cases.length, 44);
  for (const row of cases) {
    const phases = epochs.map((epoch: number) =>
      epochPhase(epoch, {
        freeze: row.freeze_network_1,
        semiFreeze: row.semi_freeze_network_1,
        annealEpoch: row.anneal_epoch,
        halfAnnealEpoch: row.half_anneal_epoch,
      })
    ) as ReturnType<typeof epochPhase>[];
    deepEqual(phases.map((phase) => phase.network1Trains), row.network_1_trains);
    deepEqual(phases.map((phase) => phase.orthogonalityOn), row.orthogonality_moves_network_2);
    const moves1 = phases.map((phase) => phase.orthogonalityOn && phase.network1Trains);
    deepEqual(moves1, row.orthogonality_moves_network_1);
  }
});

Deno.test("learningRateMultiplier() is the reference's at every step, for all schedules", async () => {
  const { schedules } = await goldenJson("training/lr_schedules");
  equal(schedules.length, 19);
  for (const { name, warmup, training_steps: total, base_lr, num_cycles, power, multipliers } of schedules) {
    const options = { learningRate: base_lr, schedule: name, warmupSteps: warmup, cycles: num_cycles, power };
    for (const [step, wanted] of multipliers.entries()) {
      const found = learningRateMultiplier(step, total, options);
      ok(Math.abs(found - wanted) <= 1e-12, `${name} at step ${step}: ${found}, wanted ${wanted}`);
    }
  }
  const tested = new Set(schedules.map(({ name }: { name: string }) => name));
  // AdaFactor's own rates have no multiplier.
  deepEqual(learningRateSchedules.filter((name) => !tested.has(name)), ["adafactor"]);
});

Deno.test("stepMultiplier() by batch is the reference's under accelerate 0.15, whose schedule moves at every micro-batch", async () => {
  const { with_accumulation } = await goldenJson("training/lr_schedules");
  equal(with_accumulation.length, 4);
  for (const { name, warmup, max_train_steps: total, accumulation, num_cycles, multipliers } of with_accumulation) {
    const options = { learningRate: 1e-4, schedule: name, warmupSteps: warmup, cycles: num_cycles };
    for (const [step, wanted] of multipliers.entries()) {
      const found = stepMultiplier(step, total, { ...options, accumulationSteps: accumulation, unit: "batch" });
      ok(Math.abs(found - wanted) <= 1e-12, `${name} at step ${step}: ${found}, wanted ${wanted}`);
      equal(
        stepMultiplier(step, total, { ...options, accumulationSteps: accumulation }),
        learningRateMultiplier(step, total, options),
        "by step it moves once an optimizer step",
      );
    }
  }
});

Deno.test("trainingLength() counts as the reference does, but by the longer data set", async () => {
  const { step_counts } = await goldenJson("training/lr_schedules");
  equal(step_counts.length, 7);
  let longer = 0;
  for (const row of step_counts) {
    const datasets = [row.loader_1, row.loader_2].map((batchesPerEpoch) => ({ batchesPerEpoch }));
    const found = trainingLength(datasets, {
      accumulationSteps: row.accumulation,
      ...row.max_train_steps === null ? {} : { steps: row.max_train_steps },
      ...row.max_train_epochs === null ? {} : { epochs: row.max_train_epochs },
    });
    equal(found.stepsPerEpoch, Math.ceil(row.batches_per_epoch / row.accumulation));
    if (row.loader_2 > row.loader_1) {
      // The reference plans epochs of the first data set and makes them as long as the second.
      longer++;
      equal(found.epochs, row.max_train_epochs ?? Math.ceil(row.max_train_steps / found.stepsPerEpoch));
      equal(found.totalSteps, row.max_train_steps ?? found.epochs * found.stepsPerEpoch);
    } else {
      deepEqual([found.totalSteps, found.epochs], [row.optimizer_steps, row.epochs_planned]);
    }
  }
  equal(longer, 2);
});
