import { deepEqual, equal, match, notDeepEqual, ok, rejects } from "node:assert/strict";
import { haltUnlessFinite, input, plan, Variable } from "../../engine/mod.ts";
import { DivergedError, type SkippedStep } from "../../training/not_finite.ts";
import type { TrainBatch } from "../../training/feeds.ts";
import type { TrainerOptions, TrainerState } from "../../training/trainer.ts";
import { openTiny, tinyBatch, tinyNetwork, type Trained, trainTiny } from "./tiny_training.ts";

const tiny = await openTiny(), { device, base } = tiny;
const networks = ([1, 2] as const).map((number) => tinyNetwork(base, number, { learningRate: 1e-3 }));

/** A batch by rule; one with `brings: NaN` has that number among its latents. */
function batch(seed: number, brings?: number): TrainBatch {
  const made = tinyBatch(seed);
  if (brings !== undefined) made.samples[0].latents[7] = brings;
  return made;
}

/** A batch whose loss, and all behind it, is about `lossWeight`. */
function heavy(seed: number, lossWeight: number): TrainBatch {
  const { samples: [sample], ...sizes } = batch(seed);
  return { ...sizes, samples: [{ ...sample, lossWeight }] };
}

/** Trains network 1 alone, or both, over these micro-batches from a state. */
async function train(
  count: 1 | 2,
  steps: readonly (readonly TrainBatch[])[],
  options: Partial<TrainerOptions> = {},
  from?: TrainerState,
): Promise<Trained & { readonly skipped: SkippedStep[] }> {
  const skipped: SkippedStep[] = [], onSkip = (step: SkippedStep) => skipped.push(step);
  const trained = await trainTiny(tiny, networks.slice(0, count), steps, { onSkip, ...options }, from);
  return { ...trained, skipped };
}

Deno.test("haltUnlessFinite() stays 0 for finite figures, is set by NaN and by either infinity, and then stays", async () => {
  const halted = new Variable("halted", { shape: [1], dtype: "u32" });
  const program = await device.compile(
    plan({ effects: [haltUnlessFinite(halted.tensor, input("figures", [5]))] }),
  );
  const after = async (...figures: number[]) => {
    program.run({ figures });
    return (await device.download(halted))[0];
  };
  equal(await after(0, -3.4e38, 3.4e38, 1e-45, -0), 0);
  for (const wrong of [NaN, Infinity, -Infinity]) {
    device.upload(halted, [0]);
    equal(await after(1, 2, 3, 4, wrong), 1);
    equal(await after(1, 2, 3, 4, 5), 1);
  }
  device.release(program);
  device.free([halted]);
});

Deno.test("a step that is not finite changes no bit of either network, whenever it is seen", async () => {
  const steps = [[batch(0)], [batch(1)], [batch(2, NaN)], [batch(3)], [batch(4)]];
  const ran = await train(2, steps);
  deepEqual(ran.skipped.map(({ step, inRow, total }) => [step, inRow, total]), [[2, 1, 1]]);
  match(ran.skipped[0].origin!, /^latents_1, which the batch brings$/);
  deepEqual(ran.figures.map(({ step }) => step), [0, 1, 3, 4]);
  deepEqual(ran.state.networks.map(({ optimizer: { clock } }) => [...clock]), [[4], [4]]);
  deepEqual(ran.state.skipped, { total: 1, inRow: 0 });

  // The same run without that step: stopped before it, and started again behind it.
  const before = await train(2, steps.slice(0, 2));
  const expected = await train(2, steps.slice(3), {}, { ...before.state, step: 3 });
  deepEqual(ran.state.networks, expected.state.networks);
  deepEqual(ran.figures, [...before.figures, ...expected.figures]);
  notDeepEqual(ran.state.networks, before.state.networks);

  const readAtOnce = await train(2, steps, { readEvery: 1 });
  deepEqual(readAtOnce, ran);
});

Deno.test("a micro-batch that is not finite skips its whole step, and leaves nothing to the next one's gradient", async () => {
  const good = [batch(0), batch(1)], next = [batch(4), batch(5)];
  const ran = await train(1, [good, [heavy(2, 3.4e38), batch(3)], next], { accumulationSteps: 2 });
  deepEqual(ran.skipped.map(({ step }) => step), [1]);
  match(ran.skipped[0].origin!, / in network_1/);
  const before = await train(1, [good], { accumulationSteps: 2 });
  const expected = await train(1, [next], { accumulationSteps: 2 }, { ...before.state, step: 2 });
  deepEqual(ran.state.networks, expected.state.networks);
});

Deno.test("a run stops at so many skipped steps in a row, also when it was stopped between them", async () => {
  const bad = (seed: number) => [batch(seed, NaN)], stopAt3 = { maxSkippedInRow: 3 };
  await rejects(train(1, [[batch(0)], bad(1), bad(2), bad(3), [batch(4)]], stopAt3), (error) => {
    ok(error instanceof DivergedError);
    equal(error.step, 3);
    match(
      error.message,
      /^Training diverged in step 4: .*; the 2 before it had to be skipped as well\. Try a lower learning rate/,
    );
    return true;
  });
  // A good step in between starts the count again.
  const ran = await train(1, [bad(0), bad(1), [batch(2)], bad(3), bad(4)], stopAt3);
  deepEqual(ran.state.skipped, { total: 4, inRow: 2 });
  deepEqual([...ran.state.networks[0].optimizer.clock], [1]);
  await rejects(train(1, [bad(5)], stopAt3, ran.state), DivergedError);
  deepEqual((await train(1, [[batch(5)]], stopAt3, ran.state)).state.skipped, { total: 4, inRow: 0 });
});

/** Puts one infinite number into a weight of the base for as long as `body` runs. */
async function damaged<T>(key: string, body: () => Promise<T>): Promise<T> {
  const { variable } = base.unetWeights.all.find((spec) => spec.key === key)!;
  const whole = await device.download(variable), hurt = whole.slice();
  hurt[5] = Infinity;
  device.upload(variable, hurt);
  try {
    return await body();
  } finally {
    device.upload(variable, whole);
  }
}

Deno.test("a skipped step names the layer in which a number was not finite first", async () => {
  const layer = "mid_block.attentions.0.transformer_blocks.0.ff.net.2";
  for (const activations of ["f32", "f16", "bf16"] as const) {
    const ran = await damaged(`${layer}.weight`, () => train(2, [[batch(0)]], { activations }));
    deepEqual(ran.skipped.map(({ origin }) => origin), [`matmul in network_1.unet.${layer}`], activations);
    equal(ran.skipped[0].figure, "loss_1");
    ok(Number.isNaN(ran.skipped[0].value));
  }

  const { skipped: [backward] } = await train(1, [[heavy(0, 1e38)]]);
  equal(backward.figure, "norm_1");
  match(backward.origin!, /in network_1/);
});
