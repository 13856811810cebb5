import { deepEqual, ok } from "node:assert/strict";
import type { ProbeRequest } from "../../tools/probe/context.ts";
import { dualStepOptions, probeDualStep } from "../../tools/probe/dual.ts";
import { readOptions } from "../../tools/probe/options.ts";
import type { TensorSet } from "../../tools/probe/tensors.ts";
import { closeTensor, goldenJson, goldenTensors, relativeError, startingWith, tinyRequest } from "./golden_tensors.ts";

/** Between them: both forms, one and two networks that train, both terms, several micro-batches. */
const modes = ["both_train.clean.accumulation_2", "both_train.original.text_mask_I", "network_1_frozen.original"];

async function probe(mode: string, changed: ProbeRequest["options"]): Promise<TensorSet> {
  const inputs = await goldenTensors("training/dual_step/inputs");
  const input = new Map([...inputs].filter(([name]) => !name.includes("non_square.")));
  const options = readOptions("dual-step", await goldenJson(`training/dual_step/${mode}`), dualStepOptions);
  return await probeDualStep({ ...await tinyRequest(), options: { ...options, ...changed }, input });
}

Deno.test("gradient checkpointing changes no bit of losses, terms, norms and gradients", async () => {
  for (const mode of modes) {
    deepEqual(await probe(mode, { gradient_checkpointing: true }), await probe(mode, {}), mode);
  }
  // What is stored in 16 bits is rounded the same way the second time.
  for (const activations of ["f16", "bf16"]) {
    const [again, kept] = [true, false].map((gradient_checkpointing) =>
      probe("both_train.clean", { activations, gradient_checkpointing })
    );
    deepEqual(await again, await kept, activations);
  }
});

// The original script loses this gradient: its hooks see tensors that PyTorch's checkpointing has detached.
Deno.test("under gradient checkpointing the text encoders' orthogonality term has its gradient", async () => {
  const mode = "both_train.clean", golden = await goldenTensors(`training/dual_step/${mode}.gradients`);
  const found = await probe(mode, { gradient_checkpointing: true });
  for (const name of golden.keys()) closeTensor(found, name, golden, name, 1e-3);
  // Layer 9's hook is the last that the term reaches: without the term, gradients up to there are others.
  const without = await probe(mode, { gradient_checkpointing: true, lambda_te: 0 });
  for (const k of [1, 2]) {
    const layer = `network_${k}.lora_te_text_model_encoder_layers_9_mlp_fc2.`, others = startingWith(without, layer);
    const gradients = startingWith(found, layer);
    ok(gradients.size === 2);
    for (const [name, values] of gradients) ok(relativeError(others.get(name)!, values) > 0.01, layer + name);
  }
});
