import { equal, ok, rejects } from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { uniformByRule, weightByRule } from "../../formats/weights_by_rule.ts";
import type { ProbeRequest } from "../../tools/probe/context.ts";
import { dualRunOptions, dualStepOptions, probeDualRun, probeDualStep } from "../../tools/probe/dual.ts";
import { readOptions } from "../../tools/probe/options.ts";
import type { NamedTensor, TensorSet } from "../../tools/probe/tensors.ts";
import {
  allGoldens,
  closeFigures,
  closeFingerprints,
  closeTensor,
  goldenJson,
  goldenPath,
  goldenTensors,
  startingWith,
  tinyRequest,
} from "./golden_tensors.ts";

/** Modes that between them take every way through the step at the square size. */
const chosen = [
  "both_train.clean",
  "both_train.clean.everything",
  "both_train.clean.max_grad_norm_0.1",
  "both_train.original.text_mask_I",
  "network_1_frozen.original",
];

async function allModes(): Promise<string[]> {
  const files = await readdir(goldenPath("training/dual_step"));
  return files.filter((name) => /^(both|network).*\.json$/.test(name)).map((name) => name.slice(0, -5)).toSorted();
}

/** The input's set that a mode uses, under the set's prefix. */
function setOf(mode: string, inputs: TensorSet): { prefix: string; input: TensorSet } {
  const prefix = mode.endsWith("non_square") ? "non_square." : "";
  return { prefix, input: new Map([...inputs].filter(([name]) => name.includes("non_square.") === (prefix !== ""))) };
}

async function checkMode(
  tiny: Omit<ProbeRequest, "input" | "options">,
  mode: string,
  inputs: TensorSet,
  names: Readonly<Record<string, string[]>>,
): Promise<void> {
  const json = await goldenJson(`training/dual_step/${mode}`), convolutions = mode.endsWith("conv_dim_4");
  const options = readOptions("dual-step", { ...json, ...convolutions ? { conv_dim: 4 } : {} }, dualStepOptions);
  const { prefix, input } = setOf(mode, inputs);
  const found = await probeDualStep({ ...tiny, options, input });
  closeFigures(found, `${prefix}terms.`, json.terms, 1e-4);
  closeFigures(found, `${prefix}norms.`, json.norms, 1e-3);
  const prints = await goldenTensors(`training/dual_step/${mode}.fingerprints`);
  for (const k of [1, 2]) {
    const gradients = startingWith(found, `${prefix}network_${k}.`), golden = prints.get(`gradient_${k}`);
    equal(gradients.size > 0, golden !== undefined, `${mode}: gradients of network ${k}`);
    if (!golden) continue;
    const order = names[convolutions ? "conv_dim_4" : "plain"];
    closeFingerprints(gradients, order, golden.data, { norm: 1e-3, dot: 4e-3 });
  }
  if (!["both_train.clean", "both_train.original.text_mask_I"].includes(mode)) return;
  const whole = await goldenTensors(`training/dual_step/${mode}.gradients`);
  for (const name of whole.keys()) closeTensor(found, name, whole, name, 1e-3);
}

Deno.test("the dual step computes the reference's losses, terms, norms and gradients in each of its modes", async () => {
  const modes = await allModes(), inputs = await goldenTensors("training/dual_step/inputs");
  const names = await goldenJson("training/dual_step/tensors");
  equal(modes.length, 30);
  const tiny = await tinyRequest();
  for (const mode of allGoldens ? modes : chosen) await checkMode(tiny, mode, inputs, names);
});

/** `mean((h1·h2ᵀ ⊙ (1 − I))²)` of matrices `[count, rows, columns]`, as the method's formula has it. */
function offDiagonal({ shape, data: h1 }: NamedTensor, { data: h2 }: NamedTensor): number {
  const [rows, columns] = shape.slice(-2), count = h1.length / rows / columns;
  let total = 0;
  for (let m = 0; m < count; m++) {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < rows; j++) {
        let dot = 0;
        for (let c = 0; c < columns; c++) {
          dot += h1[(m * rows + i) * columns + c] * h2[(m * rows + j) * columns + c];
        }
        if (i !== j) total += dot * dot;
      }
    }
  }
  return total / (count * rows * rows);
}

Deno.test("the dual step's hidden layers and the parts of its gradients are the reference's", async () => {
  const { input } = setOf("", await goldenTensors("training/dual_step/inputs"));
  const golden = await goldenTensors("training/dual_step/components");
  const prints = await goldenTensors("training/dual_step/components.fingerprints");
  const { plain: names } = await goldenJson("training/dual_step/tensors");
  const found = await probeDualStep({ ...await tinyRequest(), options: { components: true }, input });
  for (const name of golden.keys()) closeTensor(found, name, golden, name, 1e-3);
  for (const k of [1, 2]) {
    const limits = { norm: 1e-3, dot: 4e-3 }, whole = startingWith(found, `mse.network_${k}.`);
    closeFingerprints(whole, names, prints.get(`mse.network_${k}`)!.data, limits);
    let squares = 0;
    for (const name of names) {
      const [te, unet] = ["orth_te", "orth_unet"].map((term) => golden.get(`${term}.network_${k}.${name}`)?.data);
      (te ?? unet)?.forEach((_, i) => squares += ((te?.[i] ?? 0) + (unet?.[i] ?? 0)) ** 2);
    }
    closeFigures(found, "norms.", { [`norm_${k}_of_the_orthogonality_gradient`]: Math.sqrt(squares) }, 1e-3);
  }
  const { orth_te, orth_unet } = await goldenJson("training/dual_step/components");
  for (const [term, wanted] of Object.entries({ text: orth_te, unet: orth_unet })) {
    const value = offDiagonal(found.get(`hook_${term}_1`)!, found.get(`hook_${term}_2`)!);
    ok(Math.abs(value - wanted) <= 1e-4 * wanted, `${term}: ${value}, wanted ${wanted}`);
  }
});

Deno.test("probeDualRun() runs every set that is long enough, and refuses steps that are never reached", async () => {
  const input = await goldenTensors("training/dual_step/inputs"), tiny = await tinyRequest();
  const found = await probeDualRun({ ...tiny, options: { save_steps: [1] }, input });
  for (const [prefix, mode] of [["", "both_train.clean"], ["non_square.", "both_train.clean.non_square"]]) {
    const { terms } = await goldenJson(`training/dual_step/${mode}`);
    closeFigures(found, `${prefix}step_1.terms.`, terms, 1e-4);
    ok(startingWith(found, `${prefix}step_1.network_2.`).size > 0);
  }
  equal(found.has("step_2.terms.loss_1"), true);
  equal(found.has("non_square.step_2.terms.loss_1"), false);
  const refused: [object, string][] = [
    [{ steps: 1, save_steps: [2] }, "Cannot probe: option save_steps has 2, must be whole numbers from 1 to 1"],
    [{ save_steps: [1, 0.5] }, "Cannot probe: option save_steps has 0.5, must be whole numbers from 1 to 2"],
    [{ steps: 3 }, "Cannot probe: step 3 is asked for, the input has batches for 2 steps"],
  ];
  for (const [options, message] of refused) {
    await rejects(probeDualRun({ ...tiny, options: { ...options }, input }), { message });
  }
});

/** Rows of a tensor `[steps, batch, …]`: the first `batch` samples. */
function firstSamples({ shape: [steps, all, ...rest], data }: NamedTensor, batch: number): NamedTensor {
  const each = data.length / steps / all;
  const kept = data.filter((_, i) => Math.floor(i / each) % all < batch);
  return { shape: [steps, batch, ...rest], data: kept };
}

/**
 * The slope of network 2's loss along one random direction in all of its weights: by its gradient, and by central differences.
 */
async function slopes(
  inputs: TensorSet,
  options: Record<string, unknown>,
): Promise<{ slope: number; measured: number }> {
  const tiny = await tinyRequest(), found = await probeDualStep({ ...tiny, options, input: inputs });
  const distance = 2e-3, moved = new Map(inputs), movedBack = new Map(inputs);
  let slope = 0;
  for (const [name, { shape, data: gradient }] of found) {
    if (!name.startsWith("network_2.")) continue;
    const tensor = name.slice("network_2.".length), random = uniformByRule(`direction.${name}`, gradient.length);
    const start = weightByRule(`lora2.${tensor}`, shape);
    const factor = tensor.endsWith("lora_up.weight") ? Math.fround(0.7) : 1;
    const weights = start.map((value) => Math.fround(value * factor));
    moved.set(name, { shape, data: weights.map((value, i) => value + distance * random[i]) });
    movedBack.set(name, { shape, data: weights.map((value, i) => value - distance * random[i]) });
    gradient.forEach((value, i) => slope += value * random[i]);
  }
  const lossOf = async (input: TensorSet) =>
    (await probeDualStep({ ...tiny, options, input })).get("terms.loss_2")!.data[0];
  return { slope, measured: (await lossOf(moved) - await lossOf(movedBack)) / (2 * distance) };
}

// No reference covers batches of different size: the gradient is checked against the loss itself.
Deno.test("with batches of different size network 2's gradient is the slope of its own loss", async () => {
  const inputs = setOf("", await goldenTensors("training/dual_step/inputs")).input;
  for (const name of ["latents_2", "noise_2", "input_ids_2"]) inputs.set(name, firstSamples(inputs.get(name)!, 1));
  const options = { max_grad_norm: 0, loss_weights_2: [0.5] };
  const found = await probeDualStep({ ...await tinyRequest(), options, input: inputs });
  equal(found.get("terms.mse_1")!.data.length, 2);
  equal(found.get("terms.mse_2")!.data.length, 1);
  const { slope, measured } = await slopes(inputs, options);
  ok(Math.abs(measured - slope) <= 1e-2 * Math.abs(slope), `slope ${slope}, central difference ${measured}`);
});

// The original reads the divergences' coefficient and never uses it, so there is no reference: the loss is put together from the reference's terms.
Deno.test("a coefficient of the divergences adds both to the loss, and network 2's gradient is the slope of that", async () => {
  const inputs = setOf("", await goldenTensors("training/dual_step/inputs")).input;
  const { terms } = await goldenJson("training/dual_step/both_train.clean");
  const options = { max_grad_norm: 0, lambda_te: 0, lambda_unet: 0, lambda_kld: -0.5 };
  const found = await probeDualStep({ ...await tinyRequest(), options, input: inputs });
  for (const k of [1, 2]) {
    const [one, two] = terms[`mse_${k}`], wanted = (one + two) / 2 - 0.5 * (terms.kld_te + terms.kld_unet);
    closeFigures(found, "terms.", { [`loss_${k}`]: wanted }, 1e-4);
  }
  const { slope, measured } = await slopes(inputs, options);
  ok(Math.abs(measured - slope) <= 1e-2 * Math.abs(slope), `slope ${slope}, central difference ${measured}`);
});

Deno.test("probeDualStep() names a network's weight that the network has no place for", async () => {
  const inputs = setOf("", await goldenTensors("training/dual_step/inputs")).input;
  const name = "network_2.lora_te_text_model_encoder_layers_9_mlp_fc2.lora_dwn.weight";
  inputs.set(name, { shape: [1], data: new Float32Array(1) });
  await rejects(probeDualStep({ ...await tinyRequest(), options: {}, input: inputs }), {
    name: "TypeError",
    message: `Cannot probe: the network has no place for the input's ${name}. ` +
      "Did you mean network_2.lora_te_text_model_encoder_layers_9_mlp_fc2.lora_down.weight?",
  });
});

const runs = ["both_train.clean", "both_train.original", "network_1_frozen.clean", "network_1_frozen.original"];

/** Weights minus those by rule that the run started from. */
function movement(found: TensorSet, start: string, k: number): Map<string, Float32Array> {
  return new Map(
    [...startingWith(found, start)].map(([name, data]) => {
      const factor = name.endsWith("lora_up.weight") ? Math.fround(0.7) : 1;
      const first = weightByRule(`lora${k}.${name}`, found.get(start + name)!.shape);
      return [name, Float32Array.from(data, (value, i) => value - Math.fround(first[i] * factor))];
    }),
  );
}

Deno.test("a run of 8 steps has the reference's figures at every step and its weights after steps 1, 4 and 8", async () => {
  const input = await goldenTensors("training/run/inputs");
  const { plain: names } = await goldenJson("training/dual_step/tensors");
  const tiny = await tinyRequest();
  for (const run of allGoldens ? runs : runs.slice(0, 1)) {
    const json = await goldenJson(`training/run/${run}`), golden = await goldenTensors(`training/run/${run}`);
    const options = readOptions("dual-run", { ...json, save_steps: [1, 4, 8] }, dualRunOptions);
    const found = await probeDualRun({ ...tiny, options, input });
    equal(json.steps.length, 8);
    for (const { step, norm_1_at_clip, norm_2_at_clip, ...terms } of json.steps) {
      closeFigures(found, `step_${step}.terms.`, terms, 1e-4);
      closeFigures(found, `step_${step}.norms.`, { norm_1_at_clip, norm_2_at_clip }, 1e-3);
    }
    for (const name of golden.keys()) {
      const [, kind, k, step, tensor] = name.match(/^(movement\.)?network_(\d)\.step_(\d)\.?(.*)$/)!;
      const start = `step_${step}.network_${k}.`;
      if (!kind) closeTensor(found, start + tensor, golden, name, 1e-4);
      else {
        const moved = movement(found, start, Number(k));
        closeFingerprints(moved, names, golden.get(name)!.data, { norm: 5e-3, dot: 2e-2 });
      }
    }
    equal(startingWith(found, "step_8.network_1.").size > 0, !json.frozen, "a frozen network is not stored");
    if (run !== "both_train.clean") continue;
    const whole = await goldenTensors(`training/run/${run}.step_8`);
    for (const name of whole.keys()) closeTensor(found, `step_8.${name}`, whole, name, 1e-4);
  }
});

Deno.test("probeDualStep() names an id that the vocabulary lacks", async () => {
  const input: TensorSet = new Map(
    [...await goldenTensors("training/dual_step/inputs")].filter(([name]) => !name.includes("non_square.")),
  );
  const { shape, data } = input.get("input_ids_2")!;
  input.set("input_ids_2", { shape, data: Int32Array.from(data, (id, at) => at === 5 ? 100 : id) });
  const options = readOptions("dual-step", {}, dualStepOptions);
  await rejects(probeDualStep({ ...await tinyRequest(), options, input }), {
    name: "RangeError",
    message: "Cannot probe: input_ids_2 has 100, must be from 0 to below 100, the vocabulary's size",
  });
});
