import { ok } from "node:assert/strict";
import { VaeModel } from "../../models/vae_model.ts";
import { loadBasesOn } from "../../steps/values/bases.ts";
import { PictureSampler } from "../../steps/values/picture_sampler.ts";
import { toNhwc } from "../../tools/probe/tensors.ts";
import { goldenTensors } from "../probe/golden_tensors.ts";

/** What the reference was sampled with: see tools/reference/models/make_weighted_picture.py. */
const reference = {
  seed: 5,
  options: { width: 128, height: 128, steps: 4, guidance: 3 },
  latents: {
    prompt: "pixel art portrait of a person, (long blonde hair:1.5), [red] clothes, white background",
    negativePrompt: "(brown hair:1.4), glasses",
  },
  plain: {
    prompt: "pixel art portrait of a person, long blonde hair, red clothes, white background",
    negativePrompt: "brown hair, glasses",
  },
} as const;

Deno.test("weights in prompts of pictures and in negative prompts do what sd-scripts' pipeline does with them", async () => {
  const golden = await goldenTensors("models/weighted_picture");
  const bases = await loadBasesOn({ network1: "toy" }, {}, { warn() {} });
  try {
    const vae = await VaeModel.load(bases.network1.checkpoint, bases.device);
    const decoded = await vae.decode(
      (["latents", "plain"] as const).map((name) => toNhwc(golden.get(name)!).data as Float32Array<ArrayBuffer>),
      { width: 16, height: 16 },
    );
    vae.free();
    const difference = (one: Uint8Array, other: Uint8Array) =>
      one.reduce((sum, value, at) => sum + Math.abs(value - other[at]), 0) / one.length;
    // Colours from 0 to 255: so far do weights move the reference's.
    const moved = difference(decoded[0], decoded[1]);
    ok(moved > 5, `weights move colours by ${moved}`);
    for (const [at, name] of (["latents", "plain"] as const).entries()) {
      const { prompt, negativePrompt } = reference[name];
      using sampler = await PictureSampler.open(bases, { ...reference.options, negativePrompt });
      const [{ pixels }] = await sampler.sample([], [{ prompt, seed: reference.seed }]);
      const off = difference(pixels, decoded[at]);
      ok(off < 0.05, `${name}: colours differ by ${off}`);
    }
  } finally {
    bases.release();
  }
});
