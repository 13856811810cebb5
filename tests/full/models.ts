/**
 * SD v1.5's models at their full size, with weights by rule, against PyTorch's figures: `deno task test:full`.
 *
 * Not among the ordinary tests: they take minutes and 5 GB.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { probeTextEncoder } from "../../tools/probe/text_encoder.ts";
import type { TensorSet } from "../../tools/probe/tensors.ts";
import { probeUnet } from "../../tools/probe/unet.ts";
import { probeVae } from "../../tools/probe/vae.ts";
import { closeTensor, goldenJson, goldenTensors } from "../probe/golden_tensors.ts";
import { type FullRequest, withFullModel } from "./full_model.ts";

const inputs = /(^|\.)(ids|sample|timesteps|context|image|latent|noise)$|^context\./;

/** Throws unless every tensor of a golden that is no input was computed within the tolerance; gives their names. */
function closeAll(found: TensorSet, golden: TensorSet, limit: number): string[] {
  const results = [...golden.keys()].filter((name) => !inputs.test(name) && !name.endsWith("_f16_weights"));
  for (const name of results) closeTensor(found, name, golden, name, limit);
  return results;
}

interface BlockFacts {
  readonly name: string;
  readonly shape: readonly number[];
  readonly mean: number;
  readonly std: number;
  readonly first: readonly number[];
}

/** Throws at the first block whose mean, deviation or first values differ; gives how many were there to compare. */
function closeBlocks(found: TensorSet, facts: readonly BlockFacts[]): number {
  let count = 0;
  for (const { name, shape, mean, std, first } of facts) {
    const block = found.get(`block.${name}`);
    if (!block) continue;
    count++;
    // The VAE's blocks are those of the batch's first picture; its goldens have one.
    deepEqual(block.shape, shape, `shape of ${name}`);
    const data = Float64Array.from(block.data), size = data.length;
    const foundMean = data.reduce((sum, value) => sum + value, 0) / size;
    const variance = data.reduce((sum, value) => sum + (value - foundMean) ** 2, 0) / size;
    ok(Math.abs(foundMean - mean) <= 1e-4 * std, `${name}: mean ${foundMean}, wanted ${mean}`);
    ok(Math.abs(Math.sqrt(variance) - std) <= 1e-4 * std, `${name}: deviation ${Math.sqrt(variance)}, wanted ${std}`);
    first.forEach((value, i) =>
      ok(Math.abs(data[i] - value) <= 1e-3 * std, `${name}[${i}]: ${data[i]}, wanted ${value}`)
    );
  }
  return count;
}

async function checkTextEncoder(request: FullRequest): Promise<void> {
  const golden = await goldenTensors("full/text_encoder");
  const found = await probeTextEncoder({ ...request, input: golden });
  const names = closeAll(found, golden, request.precision === "f16" ? 1e-2 : 1e-4);
  for (const name of ["last_hidden_state", "clip_skip_2", "long.output", "middle.output_clip_skip_2"]) {
    ok(names.includes(name), name);
  }
}

async function checkUnet(request: FullRequest): Promise<void> {
  const golden = await goldenTensors("full/unet"), isHalf = request.precision === "f16";
  const found = await probeUnet({ ...request, options: { blocks: true }, input: golden });
  const names = closeAll(found, golden, isHalf ? 1e-2 : 1e-4);
  for (const size of ["8x8", "16x8", "24x16"]) ok(names.includes(`${size}.output`), size);
  // The golden rounded weights to f16 and computed in f32: the same here.
  if (isHalf) closeTensor(found, "8x8.output_f16_weights", golden, "8x8.output_f16_weights", 1e-4);
  // The blocks are those of the golden's first set.
  else ok(closeBlocks(found, (await goldenJson("full/unet.stats"))["16x8"]) >= 50);
}

async function checkVae(request: FullRequest): Promise<void> {
  const golden = await goldenTensors("full/vae"), isHalf = request.precision === "f16";
  const found = await probeVae({ ...request, options: { blocks: true }, input: golden });
  const names = closeAll(found, golden, isHalf ? 1e-2 : 1e-4);
  equal(names.filter((name) => /\.(mean|logvar|sampled|decoded)$/.test(name)).length, 8);
  if (isHalf) return;
  const { "64x64.encode": encode, "64x64.decode": decode } = await goldenJson("full/vae.stats");
  ok(closeBlocks(found, [...encode, ...decode]) >= 45);
}

for (const precision of ["f32", "f16"] as const) {
  Deno.test(`the full text encoder equals PyTorch's with ${precision} weights`, () =>
    withFullModel(precision, checkTextEncoder));
  Deno.test(`the full UNet equals PyTorch's with ${precision} weights`, () => withFullModel(precision, checkUnet));
  Deno.test(`the full VAE equals PyTorch's with ${precision} weights`, () => withFullModel(precision, checkVae));
}
