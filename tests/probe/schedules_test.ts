import { deepEqual, equal, ok } from "node:assert/strict";
import { learningRateAt, learningRateSchedules } from "../../training/learning_rate.ts";
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

Deno.test("learningRateAt() is the reference's rate at every step", async () => {
  const { schedules } = await goldenJson("training/lr_schedules");
  const known: readonly string[] = learningRateSchedules;
  const rows = schedules.filter(({ name }: { name: string }) => known.includes(name));
  equal(rows.length, 7);
  for (
    const { name: schedule, warmup: warmupSteps, training_steps: steps, base_lr: learningRate, multipliers } of rows
  ) {
    for (const [step, multiplier] of multipliers.entries()) {
      const found = learningRateAt(step, steps, { learningRate, schedule, warmupSteps }) / learningRate;
      ok(Math.abs(found - multiplier) <= 1e-12, `${schedule} at step ${step}: ${found}, wanted ${multiplier}`);
    }
  }
});
