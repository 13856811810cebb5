/** One dual step of SD v1.5 at its full size, with weights by rule, against PyTorch's figures: `deno task test:full`. */
import { equal, ok } from "node:assert/strict";
import { dualStepOptions, probeDualStep } from "../../tools/probe/dual.ts";
import { readOptions } from "../../tools/probe/options.ts";
import {
  closeFigures,
  closeFingerprints,
  closeTensor,
  goldenJson,
  goldenTensors,
  relativeError,
  startingWith,
} from "../probe/golden_tensors.ts";
import { type FullRequest, withFullModel } from "./full_model.ts";

async function checkDualStep(request: FullRequest): Promise<void> {
  const golden = await goldenTensors("full/dual_step"), input = await goldenTensors("full/dual_inputs");
  const { norms: { norm_1_at_clip, norm_2_at_clip }, ...json } = await goldenJson("full/dual_step");
  const { plain: names } = await goldenJson("training/dual_step/tensors");
  // The golden has one base, and its first and last tensors cover every kind of module.
  const options = readOptions("dual-step", { ...json, same_base: true }, dualStepOptions);
  const found = await probeDualStep({ ...request, options, input });
  const isHalf = request.precision === "f16", limit = isHalf ? 1e-2 : 1e-4;
  closeFigures(found, "terms.", json.terms, limit);
  closeFigures(found, "norms.", { norm_1_at_clip, norm_2_at_clip }, isHalf ? 1e-2 : 1e-3);
  const hooks = ["hook_text_1", "hook_text_2", "hook_unet_1", "hook_unet_2"];
  const hidden = new Map(hooks.map((name) => [name, found.get(name)!.data]));
  closeFingerprints(hidden, hooks, golden.get("hooks")!.data, { norm: limit, dot: 4 * limit });
  for (const k of [1, 2]) {
    closeTensor(found, `hook_unet_${k}`, golden, `hook_unet_${k}`, limit);
    const first = golden.get(`hook_text_${k}.tokens_0_to_7`)!, states = found.get(`hook_text_${k}`)!;
    ok(relativeError(states.data.subarray(0, first.data.length), first.data) <= limit, `hook_text_${k}`);
    const gradients = startingWith(found, `network_${k}.`);
    equal(gradients.size, 528);
    const limits = isHalf ? { norm: 1e-2, dot: 4e-2 } : { norm: 1e-3, dot: 4e-3 };
    closeFingerprints(gradients, names, golden.get(`gradient_${k}`)!.data, limits);
    const whole = [...golden.keys()].filter((name) => name.startsWith(`gradient_${k}.`));
    equal(whole.length, 12);
    for (const name of whole) {
      closeTensor(found, name.replace("gradient_", "network_"), golden, name, isHalf ? 1e-2 : 1e-3);
    }
  }
}

for (const precision of ["f32", "f16"] as const) {
  Deno.test(
    `a full dual step has PyTorch's losses, terms, norms and gradients with ${precision} weights`,
    () => withFullModel(precision, checkDualStep),
  );
}
