import { deepEqual, ok } from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { LatentCache, latentKey } from "../../data/latent_cache.ts";
import { readLatentFile } from "../../data/latent_file.ts";
import { TensorFileError } from "../../formats/tensor_file.ts";
import { StepFolder } from "../../pipeline/step_folder.ts";
import { inspectLora } from "../../steps/lora_tools/inspect.ts";
import { readState, StateError, writeState } from "../../steps/outputs/state_folder.ts";
import { fuzzTest } from "./fuzz_case.ts";
import { mutated } from "./mutation.ts";

const golden = fileURLToPath(new URL("../golden/files/", import.meta.url)), folder = await Deno.makeTempDir();

function seedsIn(name: string, keep: RegExp): Uint8Array[] {
  return readdirSync(golden + name).filter((file) => keep.test(file)).map((file) =>
    readFileSync(join(golden, name, file))
  );
}

const stateFolder = join(folder, "state"), stateFiles = ["state.safetensors", "log.json", "manifest.json"];
await writeState(stateFolder, {
  content: {
    state: {
      step: 2,
      skipped: { total: 1, inRow: 0 },
      networks: [{ weights: Float32Array.of(1, 2, 3), optimizer: { moment: Float32Array.of(4, 5, 6) } }],
    },
    log: [{ step: 0, epoch: 0, values: { loss: 0.5 } }, { step: 1, epoch: 0, values: { loss: 0.25 } }],
  },
  facts: { networks: [], settings: { learningRate: 1e-4 } },
  owed: [],
});
const sound = new Map(stateFiles.map((name) => [name, readFileSync(join(stateFolder, name))]));
const whole = await readState(stateFolder);

/** A file of a state that was changed; with the hash that it then has in the manifest, as somebody would who wants to deceive. */
const changedStateFile = fc.constantFrom(...stateFiles).chain((name) =>
  fc.record({ name: fc.constant(name), bytes: mutated([sound.get(name)!]), isHashed: fc.boolean() })
);
const manifest = JSON.parse(sound.get("manifest.json")!.toString());
/** A manifest with a member replaced by something else. */
const otherManifest = fc.tuple(
  fc.constantFrom(...Object.keys(manifest)),
  fc.oneof(fc.constant(undefined), fc.jsonValue(), fc.constantFrom({ "../../x": "a" }, [[1]], [[], []], ["a"])),
).map(([key, value]) => ({
  name: "manifest.json",
  bytes: new TextEncoder().encode(JSON.stringify({ ...manifest, [key]: value })),
  isHashed: false,
}));

fuzzTest(
  "A changed state is refused as one that cannot be gone on from, or is still a state",
  600,
  fc.oneof({ weight: 2, arbitrary: changedStateFile }, otherManifest),
  async ({ name, bytes, isHashed }) => {
    const files = new Map<string, Uint8Array>(sound).set(name, bytes);
    if (isHashed && name !== "manifest.json") {
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      const text = JSON.stringify({ ...manifest, files: { ...manifest.files, [name]: sha256 } });
      files.set("manifest.json", new TextEncoder().encode(text));
    }
    for (const [each, content] of files) await writeFile(join(stateFolder, each), content);
    try {
      const { content: { state, log } } = await readState(stateFolder);
      ok(Number.isSafeInteger(state.step) && Array.isArray(log));
      for (const { weights } of state.networks) ok(weights instanceof Float32Array);
      if (!isHashed && name !== "manifest.json") deepEqual(state, whole.content.state);
    } catch (error) {
      ok(error instanceof StateError && error.message.includes(stateFolder), String((error as Error).stack));
    }
  },
);

const key = latentKey({
  ...{ imageBytes: new Uint8Array([1]), isFlipped: false, vaeHash: "a" },
  cut: { scaled: { width: 64, height: 64 }, left: 0, top: 0, size: { width: 64, height: 64 } },
});
const latents = { mean: { shape: [2, 2, 4], values: Float32Array.from({ length: 16 }, (_, i) => i / 8) } };
const cacheFolder = join(folder, "latents"), entry = join(cacheFolder, `${key}.safetensors`);
await new LatentCache({ folder: cacheFolder }).put(key, latents);

fuzzTest(
  "A changed entry of the cache of latents counts as damaged, or gives what was kept",
  500,
  mutated([readFileSync(entry)]),
  async (bytes) => {
    await writeFile(entry, bytes);
    const kinds: string[] = [];
    const found = await new LatentCache({ folder: cacheFolder, onEvent: ({ kind }) => kinds.push(kind) }).get(key);
    if (found) deepEqual(found, latents);
    else deepEqual(kinds, ["damaged", "missing"]);
  },
);

fuzzTest(
  "A changed .npz file gives latents, or an error that names it",
  800,
  mutated(seedsIn("npz", /\.npz$/)),
  async (bytes) => {
    const path = join(folder, "a.npz");
    await writeFile(path, bytes);
    try {
      const { shape, values } = await readLatentFile(path, false);
      ok(shape.reduce((a, b) => a * b, 1) === values.length && values.length <= 100 * bytes.length);
    } catch (error) {
      ok(error instanceof Error && error.message.includes(path), String((error as Error).stack));
      ok(error instanceof TensorFileError || error.message.startsWith("Cannot read the latents"), String(error.stack));
    }
  },
);

fuzzTest(
  "A changed LoRA file is inspected, or refused by an error that names it",
  600,
  mutated(seedsIn("lora_files", /^small_(f16|conv_f16|no_metadata|unet_only)\.safetensors$/)),
  async (bytes) => {
    const path = join(folder, "a.safetensors");
    await writeFile(path, bytes);
    try {
      await inspectLora(path);
    } catch (error) {
      const isTyped = error instanceof TensorFileError || error instanceof TypeError || error instanceof RangeError;
      ok(isTyped && error.message.includes(path), String((error as Error).stack));
    }
  },
);

const inputs = { name: "a", version: 1, options: {}, needs: {}, gives: [], stored: true };
const step = new StepFolder(join(folder, "01-step"));
await mkdir(step.path, { recursive: true });
await step.commit({
  inputs: inputs as never,
  artifacts: [],
  seconds: 1,
  save: (to) => writeFile(join(to, "product.json"), "1"),
});
const stepManifest = join(step.path, "manifest.json");

fuzzTest(
  "A step's changed manifest counts as damage, or is still one",
  400,
  mutated([await readFile(stepManifest)]),
  async (bytes) => {
    await writeFile(stepManifest, bytes);
    const { manifest, damage } = await step.read();
    ok(manifest === undefined ? typeof damage === "string" : manifest.format === "pipeline-step-1");
  },
);
