import { deepEqual, equal, ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { Device } from "../../engine/mod.ts";
import { digestAfter, training } from "./replay_steps.ts";

/** Counts the pipelines that a device compiles from now on. */
function countCompilations({ gpu }: Device): { count: number } {
  const counter = { count: 0 }, compile = gpu.createComputePipeline.bind(gpu);
  gpu.createComputePipeline = (descriptor) => {
    counter.count++;
    return compile(descriptor);
  };
  return counter;
}

Deno.test("a thousand replays compile nothing, allocate nothing, and train", async () => {
  using device = await Device.open();
  const { step } = await training(device);
  const run = (i: number) => step.run({ key: [7, 0, 1, i] });
  run(0);
  const before = device.statistics, compilations = countCompilations(device), [first] = (await step.read("loss")).loss;
  for (let i = 1; i <= 1000; i++) run(i);
  const [last] = (await step.read("loss")).loss;
  deepEqual(device.statistics, before);
  equal(compilations.count, 0);
  ok(last < first / 2, `loss went from ${first} to ${last}`);
});

Deno.test("a second program of the same kernels compiles none of them again", async () => {
  using device = await Device.open();
  await training(device);
  const compilations = countCompilations(device);
  await training(device);
  equal(compilations.count, 0);
});

Deno.test("the same steps give the same bits, in this process and in another", async () => {
  using device = await Device.open();
  const here = await digestAfter(device, 20);
  equal(await digestAfter(device, 20), here);
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-check", fileURLToPath(new URL("./replay_steps.ts", import.meta.url))],
  }).output();
  ok(success, new TextDecoder().decode(stderr));
  equal(new TextDecoder().decode(stdout).trim(), here);
});

Deno.test("release() and free() give back every buffer", async () => {
  using device = await Device.open();
  const { buffers, bytes } = device.statistics;
  for (let i = 0; i < 3; i++) {
    const { step, weights } = await training(device);
    const recorder = step.recorder("loss", { rows: 4 });
    step.run({ key: [1, 2, 3, 4] }, { record: [recorder] });
    equal((await recorder.read()).length, 1);
    ok(device.statistics.bytes > bytes);
    recorder.dispose();
    device.release(step);
    device.free(weights);
    deepEqual({ buffers: device.statistics.buffers, bytes: device.statistics.bytes }, { buffers, bytes });
  }
});
