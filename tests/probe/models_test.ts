import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { ProbeRequest } from "../../tools/probe/context.ts";
import { probeLoraForward } from "../../tools/probe/lora_forward.ts";
import type { TensorSet } from "../../tools/probe/tensors.ts";
import { probeTextEncoder } from "../../tools/probe/text_encoder.ts";
import { probeUnet } from "../../tools/probe/unet.ts";
import { probeVae } from "../../tools/probe/vae.ts";
import { closeTensor, goldenPath, goldenTensors, relativeError, sharedDevice, tinyRequest } from "./golden_tensors.ts";

/** The tiny models of the models' goldens as a Diffusers folder of configurations. */
async function tinyFolder(): Promise<string> {
  const folder = await Deno.makeTempDir();
  for (const part of ["text_encoder", "unet", "vae"]) {
    await mkdir(join(folder, part));
    await copyFile(goldenPath(`models/${part}_tiny.config.json`), join(folder, part, "config.json"));
  }
  return folder;
}

async function withProbe(body: (request: Omit<ProbeRequest, "input">) => Promise<void>): Promise<void> {
  await body({ device: await sharedDevice(), folder: await tinyFolder(), salt: 0, precision: "f32", options: {} });
}

/** Throws unless every result that a golden has too is within its tolerance; gives the names of those. */
function closeResults(found: TensorSet, golden: TensorSet): string[] {
  const names = [...found.keys()].filter((name) => golden.has(name));
  for (const name of names) closeTensor(found, name, golden, name, name.startsWith("grad.") ? 1e-3 : 1e-4);
  return names;
}

Deno.test("probeTextEncoder() writes a golden's results under its names", async () => {
  const golden = await goldenTensors("models/text_encoder_tiny");
  await withProbe(async (request) => {
    const inputs = ["ids", "cotangent"];
    const input: TensorSet = new Map(inputs.map((name) => [name, golden.get(name)!]));
    const found = await probeTextEncoder({ ...request, input });
    deepEqual(closeResults(found, golden).toSorted(), [...golden.keys()].filter((n) => !inputs.includes(n)).toSorted());
  });
});

Deno.test("probeTextEncoder() cuts long prompts into rows and joins their states", async () => {
  const { data } = (await goldenTensors("models/text_encoder_tiny")).get("ids")!;
  const [first, last] = [data[0], data[76]], inside = [...data.slice(1, 76), ...data.slice(78, 153)];
  const input: TensorSet = new Map([
    ["ids", { shape: [2, 77], data }],
    ["middle.ids", { shape: [152], data: Int32Array.from([first, ...inside, last]) }],
  ]);
  await withProbe(async (request) => {
    const found = await probeTextEncoder({ ...request, input });
    const rows = [first, ...inside.slice(0, 75), last, first, ...inside.slice(75), last];
    deepEqual([...found.get("middle.chunks")!.data], rows);
    // Both prompts of the golden begin and end alike, so their rows are the long prompt's.
    deepEqual(rows, [...data]);
    for (const [name, joined] of [["last_hidden_state", "output"], ["clip_skip_2", "output_clip_skip_2"]]) {
      const states = found.get(name)!.data, size = states.length / 154, whole = found.get(`middle.${joined}`)!;
      deepEqual(whole.shape, [152, size]);
      const wanted = [...states.slice(0, 76 * size), ...states.slice(78 * size)];
      ok(relativeError(whole.data, wanted) < 1e-6, name);
    }
  });
});

Deno.test("probeTextEncoder() names an id that the vocabulary lacks", async () => {
  const input: TensorSet = new Map([["x.ids", { shape: [1, 77], data: new Int32Array(77).fill(100) }]]);
  await withProbe((request) =>
    rejects(probeTextEncoder({ ...request, input }), {
      name: "RangeError",
      message: "Cannot probe: x.ids has 100, must be from 0 to below 100, the vocabulary's size",
    })
  );
});

Deno.test("probeUnet() writes a golden's results under its names", async () => {
  const golden = await goldenTensors("models/unet_tiny");
  await withProbe(async (request) => {
    // Given the inputs alone, as somebody has them who makes another golden.
    const given = ["sample", "timesteps", "context", "cotangent"];
    const input: TensorSet = new Map(given.map((name) => [name, golden.get(name)!]));
    const names = closeResults(await probeUnet({ ...request, input }), golden);
    deepEqual(names.toSorted(), [...golden.keys()].filter((name) => !given.includes(name)).toSorted());
  });
});

Deno.test("probeUnet() rounds weights to f16, which changes the output by a thousandth", async () => {
  const golden = await goldenTensors("models/unet_tiny");
  const input: TensorSet = new Map(["sample", "timesteps", "context"].map((name) => [name, golden.get(name)!]));
  await withProbe(async (request) => {
    const found = await probeUnet({ ...request, precision: "f16", input });
    const error = relativeError(found.get("output_f16_weights")!.data, golden.get("output")!.data);
    ok(error > 1e-4 && error < 5e-3, `relative change ${error}`);
  });
});

Deno.test("probeUnet() takes the context of a set's batch, and asks where two fit", async () => {
  const golden = await goldenTensors("models/unet_tiny");
  const context = golden.get("context")!, half = context.data.length / 2;
  const input: TensorSet = new Map([
    ["16x8.sample", golden.get("sample")!],
    ["16x8.timesteps", golden.get("timesteps")!],
    ["context.77", context],
    ["context.other", { shape: [1, 77, 32], data: context.data.slice(0, half) }],
  ]);
  await withProbe(async (request) => {
    const found = await probeUnet({ ...request, input });
    ok(relativeError(found.get("16x8.output")!.data, golden.get("output")!.data) <= 1e-4);
    input.set("context.third", context);
    await rejects(probeUnet({ ...request, input }), /16x8\.sample has a batch of 2, 2 contexts fit/);
  });
});

Deno.test("probeVae() writes a golden's results under its names", async () => {
  const golden = await goldenTensors("models/vae_tiny");
  await withProbe(async (request) => {
    const isGiven = (name: string) => /\.(image|noise|latent)$/.test(name);
    const input: TensorSet = new Map([...golden].filter(([name]) => isGiven(name)));
    const names = closeResults(await probeVae({ ...request, input }), golden);
    const results = [...golden.keys()].filter((name) => !isGiven(name));
    deepEqual(names.toSorted(), results.toSorted());
  });
});

Deno.test("probeLoraForward() computes the reference's outputs and hidden layers, with and without networks", async () => {
  const golden = await goldenTensors("training/lora_forward/tiny");
  const found = await probeLoraForward({ ...await tinyRequest(), options: {}, input: golden });
  equal(closeResults(found, golden).length, golden.size - 3);
});
