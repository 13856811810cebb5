import { deepEqual, equal, match, ok, rejects, throws } from "node:assert/strict";
import { join } from "node:path";
import type { Device } from "../../engine/mod.ts";
import * as d from "../../mod.ts";
import { checkMemory, checkOnAdapter } from "../../steps/values/check_adapter.ts";
import { inNewFolder, keptNetwork, runRecorded, smallData } from "./small_training.ts";

/** A recipe that hands its device out behind loading, and trains two networks. */
async function recipe(folder: string, onDevice: (device: Device) => void) {
  return d.pipeline("faults")
    .use(d.loadBases({ network1: "toy" }))
    .use(d.readDreambooth({ ...await smallData(folder), resolution: 64, batchSize: 1 }))
    .use(d.cacheLatents({ folder: join(folder, "latents") }))
    .use(d.defineStep({
      name: "hand out the device",
      version: 1,
      needs: { bases: d.things.bases },
      run: ({ bases: { device } }) => onDevice(device),
    }))
    .use(d.trainBoth({ rank: 2, parts: ["unet"], steps: 6, learningRate: 1e-3, checkpointEvery: 2 }));
}

Deno.test("a device that is lost ends a training with an error of its own, and it goes on to the same bits on a new one", () =>
  inNewFolder(async (folder) => {
    const whole = join(folder, "whole"), lost = join(folder, "lost");
    equal((await runRecorded(await recipe(folder, () => {}), { folder: whole })).error, null);
    let device: Device | null = null;
    const cut = await recipe(folder, (found) => device = found);
    const onEvent = (event: d.RunEvent) => {
      // As when a driver is reset: nothing here asked for it.
      if (event.type === "progress" && event.unit === "steps" && event.done === 4) device!.gpu.destroy();
    };
    const { error } = await runRecorded(cut, { folder: lost, onEvent });
    ok(error instanceof d.DeviceLostError, `${error?.stack}`);
    match(error.message, /^The GPU device was lost: .*\. Start again: the run goes on from its last checkpoint$/);
    const again = await runRecorded(await recipe(folder, () => {}), { folder: lost });
    equal(again.error, null);
    const done = again.events.flatMap((event) =>
      event.type === "progress" && event.unit === "steps" ? [event.done] : []
    );
    ok(done[0] >= 2, `goes on from step ${done[0]}`);
    for (const name of ["network1", "network2"]) {
      const [one, other] = await Promise.all(
        [whole, lost].map((run) => keptNetwork(run, "train-both-networks", name)),
      );
      deepEqual(other, one);
    }
  }));

Deno.test("where the device's memory is full the run ends with the largest allocations and what to lower", () =>
  inNewFolder(async (folder) => {
    const full = await recipe(folder, ({ gpu }) => {
      // 137 GB: no driver has them, and it says so.
      gpu.createTexture({
        size: [2048, 2048, 2048],
        dimension: "3d",
        format: "rgba32float",
        usage: GPUTextureUsage.COPY_DST,
      });
    });
    const { error } = await runRecorded(full, { folder: join(folder, "run") });
    ok(error instanceof d.OutOfMemoryError, `${error?.stack}`);
    match(
      error.message,
      /has no memory left for .*: \d+ bytes are taken or asked for in \d+ buffers\. The largest are \S.*, \d+ bytes; .*\. Use a smaller batch, /,
    );
    // A 3×3 convolution of 192 channels to 96, the toy's largest, in f32.
    match(
      error.message,
      new RegExp(
        `The largest are unet\\.up_blocks\\.\\d\\.resnets\\.\\d\\.conv1\\.weight, ${192 * 96 * 9 * 4} bytes; `,
      ),
    );
  }));

Deno.test("a plan that takes more memory than the machine has is refused before anything is loaded", async () => {
  const memory = { total: 8e9, available: 3e9, swapFree: 1e9 };
  checkMemory(4e9, "llvmpipe", memory);
  throws(() => checkMemory(4_000_000_001, "llvmpipe", memory), {
    name: "RangeError",
    message:
      /^Cannot run on llvmpipe: 4000000001 bytes of memory are needed, and of the machine's 8000000000 3000000000 are available, and 1000000000 to swap to\. Use a smaller batch, /,
  });
  // This machine's own, where its CPU stands in for a GPU.
  const cpu = /llvmpipe|swiftshader|software/i.test((await navigator.gpu.requestAdapter())!.info.description);
  const checked = checkOnAdapter([], 1e15);
  await (cpu
    ? rejects(checked, /^RangeError: Cannot run on .*: 1000000000000000 bytes of memory are needed/)
    : checked);
});
