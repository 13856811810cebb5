import { equal, ok } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { type DualTraining, trainingBytes } from "../../tools/memory/figures.ts";
import { memoryPage } from "../../tools/memory/page.ts";
import { dualNetworks, openStableDiffusion } from "../../tools/memory/stable_diffusion.ts";
import { planStep } from "../../training/training_program.ts";

const gigabyte = 1e9;
const sd15: DualTraining = {
  bases: 1,
  precision: "f16",
  activations: "f32",
  network1Trains: true,
  gradientCheckpointing: false,
  pixels: 512,
  batch: 1,
  rank: 64,
};

// The limits are what an ordinary card has: 8 GB, 6 GB with gradient checkpointing; two bases 10 GB and 8 GB. Weights alone are in 16 bits.
for (const bases of [1, 2] as const) {
  for (const gradientCheckpointing of [false, true]) {
    const limit = (bases === 1 ? 8 : 10) - (gradientCheckpointing ? 2 : 0);
    const what = `on ${bases === 1 ? "one base" : "two bases"} with${gradientCheckpointing ? "" : "out"} checkpointing`;
    Deno.test(`a dual step of SD v1.5 at 512 pixels, rank 64, ${what} takes at most ${limit} GB`, async () => {
      const training = { ...sd15, bases, gradientCheckpointing };
      const { all } = await trainingBytes(training),
        frozen = await trainingBytes({ ...training, network1Trains: false });
      ok(all <= limit * gigabyte, `${all} bytes`);
      ok(frozen.all < all, `with network 1 frozen ${frozen.all} bytes`);
      const half = await trainingBytes({ ...training, activations: "f16" });
      ok(half.all < all, `with activations in 16 bits ${half.all} bytes`);
      // Weights of the UNet, 859,520,964, and the text encoder, 123,060,480, two bytes each, rounded up to whole buffers.
      const weights = 2 * bases * (859_520_964 + 123_060_480);
      ok(frozen.bases >= weights && frozen.bases < weights + 1e5, `bases take ${frozen.bases} bytes`);
    });
  }
}

Deno.test("no buffer of a step at 512 pixels is as large as the scores of one head: 4096 × 4096", async () => {
  for (const gradientCheckpointing of [false, true]) {
    const base = await openStableDiffusion({ precision: "f16" });
    const shape = { batch: 1, height: 64, width: 64, tokenRows: 1 };
    const { slots } = planStep(
      dualNetworks(base, 64),
      base.schedule,
      [shape, shape],
      { network1Trains: true, orthogonalityOn: true },
      { count: 1, isLast: true },
      { gradientCheckpointing },
    );
    ok(Math.max(...slots) < 4 * 4096 * 4096, `${Math.max(...slots)} bytes`);
  }
});

Deno.test("docs/memory.md is what the plans say; else run deno task memory", async () => {
  equal(await readFile(new URL("../../docs/memory.md", import.meta.url), "utf8"), await memoryPage());
});
