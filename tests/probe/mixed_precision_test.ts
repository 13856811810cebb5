import { deepEqual, equal, ok } from "node:assert/strict";
import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Device } from "../../engine/mod.ts";
import { weightByRule } from "../../formats/weights_by_rule.ts";
import { dualRunOptions, dualStepOptions, probeDualRun, probeDualStep } from "../../tools/probe/dual.ts";
import { probeLoraForward } from "../../tools/probe/lora_forward.ts";
import { readOptions } from "../../tools/probe/options.ts";
import type { ProbeRequest } from "../../tools/probe/context.ts";
import type { TensorSet } from "../../tools/probe/tensors.ts";
import { probeTextEncoder } from "../../tools/probe/text_encoder.ts";
import { probeUnet } from "../../tools/probe/unet.ts";
import { probeVae } from "../../tools/probe/vae.ts";
import {
  allGoldens,
  closeFigures,
  closeTensor,
  goldenJson,
  goldenPath,
  goldenTensors,
  relativeError,
  sharedDevice,
  startingWith,
  tinyRequest,
} from "./golden_tensors.ts";

/** The largest relative errors that weights and activations in 16 bits may make, against goldens in f32. bf16 has three bits less than f16: eight times its error. */
const limits = {
  f16: { output: 1e-2, gradient: 1e-2, movement: 4e-2 },
  bf16: { output: 8e-2, gradient: 8e-2, movement: 0.32 },
} as const;

type Half = keyof typeof limits;

/** What is kept in 16 bits, and the device. */
interface Kind {
  readonly name: string;
  readonly format: Half;
  readonly open: () => Promise<Device>;
}

let gpu: Promise<Device> | null = null;

const f16: Kind = { name: "f16", format: "f16", open: sharedDevice };
const kinds: readonly Kind[] = [
  f16,
  { name: "bf16", format: "bf16", open: sharedDevice },
  // A CPU takes many minutes to compile a GPU's kernels.
  ...allGoldens
    ? [{
      name: "f16, multiplied in f16",
      format: "f16" as const,
      open: () => gpu ??= Device.open({ target: { cpu: false, subgroupSize: 0, f16Arithmetic: true } }),
    }]
    : [],
];

/** Asks for the tiny models with weights and activations of this kind. */
async function inHalf({ format, open }: Kind): Promise<Omit<ProbeRequest, "input">> {
  return { ...await tinyRequest(), device: await open(), precision: format, options: { activations: format } };
}

async function tinyModels(): Promise<string> {
  const folder = await Deno.makeTempDir();
  for (const part of ["text_encoder", "unet", "vae"]) {
    await mkdir(join(folder, part));
    await copyFile(goldenPath(`models/${part}_tiny.config.json`), join(folder, part, "config.json"));
  }
  return folder;
}

for (const kind of kinds) {
  const { name, format } = kind, { output: limit, gradient: gradientLimit } = limits[format];

  Deno.test(`text encoder, UNet and VAE with weights and activations in ${name} are within ${limit} of the f32 goldens`, async () => {
    const request = { ...await inHalf(kind), folder: await tinyModels() };
    const golden = async (name: string, given: RegExp) => {
      const all = await goldenTensors(`models/${name}_tiny`);
      return { all, input: new Map([...all].filter(([name]) => given.test(name))) };
    };
    const text = await golden("text_encoder", /^ids$/), unet = await golden("unet", /^(sample|timesteps|context)$/);
    const states = await probeTextEncoder({ ...request, input: text.input });
    for (const name of ["last_hidden_state", "clip_skip_2"]) closeTensor(states, name, text.all, name, limit);
    closeTensor(await probeUnet({ ...request, input: unet.input }), "output", unet.all, "output", limit);
    const vae = await golden("vae", /\.(image|noise|latent)$/);
    const found = await probeVae({ ...request, input: vae.input });
    // The distribution's logarithm of the variance is near 0, where a relative error says nothing.
    const names = [...vae.all.keys()].filter((name) => /(?<!quiet)\.(mean|sampled|decoded)$/.test(name));
    ok(names.length >= 3);
    for (const name of names) closeTensor(found, name, vae.all, name, limit);
  });

  Deno.test(`networks on bases in ${name}: outputs and hidden layers are within ${limit} of the f32 goldens`, async () => {
    const golden = await goldenTensors("training/lora_forward/tiny");
    const found = await probeLoraForward({ ...await inHalf(kind), input: golden });
    const names = [...golden.keys()].filter((name) => found.has(name));
    equal(names.length, golden.size - 3);
    for (const name of names) closeTensor(found, name, golden, name, limit);
  });

  Deno.test(`dual steps in ${name}: figures are within ${limit}, each network's gradient within ${gradientLimit} of the f32 goldens`, async () => {
    const inputs = [...await goldenTensors("training/dual_step/inputs")];
    const input: TensorSet = new Map(inputs.filter(([name]) => !name.includes("non_square.")));
    const request = { ...await inHalf(kind), input };
    for (const mode of ["both_train.clean", "both_train.original.text_mask_I", "both_train.clean.everything"]) {
      const json = await goldenJson(`training/dual_step/${mode}`);
      const options = { ...readOptions("dual-step", json, dualStepOptions), ...request.options };
      const found = await probeDualStep({ ...request, options });
      closeFigures(found, "terms.", json.terms, limit);
      closeFigures(found, "norms.", json.norms, limit);
      if (mode.endsWith("everything")) continue;
      const golden = await goldenTensors(`training/dual_step/${mode}.gradients`);
      for (const k of [1, 2]) {
        const whole = (set: TensorSet) =>
          [...golden.keys()].filter((name) => name.startsWith(`network_${k}.`)).flatMap((name) => [
            ...set.get(name)!.data,
          ]);
        const error = relativeError(whole(found), whole(golden));
        ok(error <= gradientLimit, `${mode}, network ${k}: relative error ${error}, limit ${gradientLimit}`);
      }
    }
  });

  Deno.test(`a run of 8 steps in ${name} moves the weights as the f32 golden does, to ${limits[format].movement}`, async () => {
    const run = "both_train.clean", input = await goldenTensors("training/run/inputs");
    const json = await goldenJson(`training/run/${run}`), golden = await goldenTensors(`training/run/${run}.step_8`);
    const request = { ...await inHalf(kind), input };
    const options = { ...readOptions("dual-run", { ...json, save_steps: [8] }, dualRunOptions), ...request.options };
    const found = await probeDualRun({ ...request, options });
    for (const { step, norm_1_at_clip: _, norm_2_at_clip: __, ...terms } of json.steps) {
      closeFigures(found, `step_${step}.terms.`, terms, 2 * limit);
    }
    for (const k of [1, 2]) {
      const names = [...startingWith(golden, `network_${k}.`).keys()];
      const moved = (set: TensorSet, prefix: string) =>
        names.flatMap((name) => {
          const { shape, data } = set.get(`${prefix}network_${k}.${name}`)!;
          const start = weightByRule(`lora${k}.${name}`, shape),
            factor = name.includes("lora_up") ? Math.fround(0.7) : 1;
          return Array.from(data, (value, i) => value - Math.fround(start[i] * factor));
        });
      const error = relativeError(moved(found, "step_8."), moved(golden, ""));
      ok(error <= limits[format].movement, `network ${k}: movement is off by ${error}`);
    }
  });
}

Deno.test("in f16 gradient checkpointing changes no bit of figures and gradients", async () => {
  const inputs = [...await goldenTensors("training/dual_step/inputs")];
  const input: TensorSet = new Map(inputs.filter(([name]) => !name.includes("non_square.")));
  const request = { ...await inHalf(f16), input };
  const step = (gradient_checkpointing: boolean) =>
    probeDualStep({ ...request, options: { ...request.options, gradient_checkpointing } });
  deepEqual(await step(true), await step(false));
});
