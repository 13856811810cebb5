import { deepEqual, equal, rejects, throws } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { countElements } from "./element_types.ts";
import {
  legacyHash,
  type LoraFileModule,
  loraFrom,
  readLora,
  type SavePrecision,
  serializeLora,
  writeLora,
  writeTorchLora,
} from "./lora_file.ts";
import { openTensorFile } from "./open_tensor_file.ts";
import { SafetensorsFile, serializeSafetensors, type TensorData } from "./safetensors.ts";
import { weightByRule } from "./weights_by_rule.ts";

// LoRA files that sd-scripts 0.6.4 saved, with weights by rule under the names "lora1." + key; the metadata is sorted.
const GOLDEN = new URL("../tests/golden/files/lora_files/", import.meta.url);

interface Expected {
  network: { alpha: number; conv_alpha?: string };
  save_precision: "fp16" | "bf16" | null;
  metadata_given: Record<string, string> | null;
  header_bytes: number;
  sshs_model_hash: string;
  sshs_legacy_hash: string;
  tensors?: [string, string, number[]][];
  tensors_brief?: [string, string, number[]][];
}

const expected: {
  files: Record<string, Expected>;
  base_model_hashes: { cases: { length: number; legacy: string }[] };
} = JSON.parse(await readFile(new URL("expected.json", GOLDEN), "utf8"));

/** The modules of a golden, from its tensor list and the rule alone. */
function modulesByRule({ network, tensors, tensors_brief }: Expected): LoraFileModule[] {
  const shapes = new Map((tensors ?? tensors_brief)!.map(([key, , shape]) => [key, shape]));
  const weight = (key: string) => {
    const shape = shapes.get(key)!;
    return { shape, values: weightByRule(`lora1.${key}`, shape) };
  };
  const names = [...shapes.keys()].filter((key) => key.endsWith(".alpha")).map((key) => key.slice(0, -".alpha".length));
  return names.map((name) => {
    const down = weight(`${name}.lora_down.weight`);
    const isSpatial = countElements(down.shape.slice(2)) > 1;
    const alpha = isSpatial ? Number(network.conv_alpha) : network.alpha;
    return { name, down, up: weight(`${name}.lora_up.weight`), alpha };
  });
}

function write(wanted: Expected, name: string): Uint8Array[] {
  return serializeLora(modulesByRule(wanted), {
    metadata: wanted.metadata_given ? new Map(Object.entries(wanted.metadata_given)) : undefined,
    precision: wanted.save_precision ?? "float",
    integerAlpha: name === "small_int_alpha.safetensors",
  });
}

const safetensorsNames = Object.keys(expected.files).filter((name) => name.endsWith(".safetensors"));
const smallNames = safetensorsNames.filter((name) => name.startsWith("small_"));

for (const name of smallNames) {
  Deno.test(`serializeLora() writes ${name} as sd-scripts does, byte for byte`, async () => {
    const written = Buffer.concat(write(expected.files[name], name));
    deepEqual(written, await readFile(new URL(name, GOLDEN)));
  });

  Deno.test(`readLora() reads ${name}, and what it read is written with the same bytes`, async () => {
    const { modules, metadata } = await readLora(fileURLToPath(new URL(name, GOLDEN)));
    const wanted = expected.files[name];
    equal(metadata.get("sshs_model_hash"), wanted.sshs_model_hash);
    const withoutHashes = new Map([...metadata].filter(([key]) => !key.startsWith("sshs_")));
    const precision: SavePrecision = wanted.save_precision ?? "float";
    const integerAlpha = name === "small_int_alpha.safetensors";
    const again = serializeLora(modules, { metadata: withoutHashes, precision, integerAlpha });
    deepEqual(Buffer.concat(again), await readFile(new URL(name, GOLDEN)));
  });
}

Deno.test("serializeLora() gives all 264 modules of SD v1.5 the hashes that sd-scripts gives them", async () => {
  const name = "full_rank1_f16.safetensors";
  const wanted = expected.files[name];
  const pieces = write(wanted, name);
  equal(pieces[0].length, 8 + wanted.header_bytes);
  const file = await SafetensorsFile.fromBytes(Buffer.concat(pieces), name);
  equal(file.tensors.size, 792);
  equal(file.metadata!.get("sshs_model_hash"), wanted.sshs_model_hash);
  equal(file.metadata!.get("sshs_legacy_hash"), wanted.sshs_legacy_hash);
});

Deno.test("legacyHash() agrees with sd-scripts around both ends of its range, however the file is cut", () => {
  for (const { length, legacy } of expected.base_model_hashes.cases) {
    // Byte i is (i * 2654435761 >> 13) & 255: bits 13 to 20 of the product, which its lower 32 bits hold.
    const content = Uint8Array.from({ length }, (_, i) => Math.imul(i, 2654435761) >>> 13);
    equal(legacyHash([content]), legacy, `${length} bytes`);
    equal(legacyHash([content.subarray(0, 5), content.subarray(5, 0x100100), content.subarray(0x100100)]), legacy);
  }
});

const linear: LoraFileModule = {
  name: "lora_te_text_model_encoder_layers_0_mlp_fc1",
  down: { shape: [2, 3], values: new Float32Array([1, 2, 3, 4, 5, 6]) },
  up: { shape: [4, 2], values: new Float32Array(8) },
  alpha: 0.5,
};

Deno.test("writeLora() writes what readLora() reads", async () => {
  const path = join(await Deno.makeTempDir(), "mine.safetensors");
  await writeLora(path, [linear], { metadata: new Map([["ss_output_name", "mine"]]) });
  const { modules, metadata } = await readLora(path);
  deepEqual(modules, [linear]);
  deepEqual([...metadata.keys()], ["ss_output_name", "sshs_legacy_hash", "sshs_model_hash"]);
});

/** A file of float32 zeros with these names and shapes. */
function fileOf(shapes: Record<string, number[]>): Promise<SafetensorsFile> {
  const tensors = Object.entries(shapes).map(([name, shape]): TensorData => ({
    name,
    type: "F32",
    shape,
    bytes: new Uint8Array(4 * countElements(shape)),
  }));
  return SafetensorsFile.fromBytes(serializeSafetensors(tensors), "x.safetensors");
}

Deno.test("loraFrom() takes a missing alpha as the rank", async () => {
  const file = await fileOf({ "lora_unet_a.lora_down.weight": [3, 5], "lora_unet_a.lora_up.weight": [7, 3] });
  equal((await loraFrom(file)).modules[0].alpha, 3);
});

const FAULTS: [claim: string, shapes: Record<string, number[]>, message: RegExp][] = [
  [
    "ranks that differ",
    { "lora_unet_a.lora_down.weight": [3, 5], "lora_unet_a.lora_up.weight": [7, 4] },
    /x\.safetensors.*"lora_unet_a".*ranks differ: 3 and 4/,
  ],
  [
    "a linear down beside a convolution's up",
    { "lora_unet_a.lora_down.weight": [3, 5], "lora_unet_a.lora_up.weight": [7, 3, 1, 1] },
    /expected both to have 2 dimensions/,
  ],
  [
    "an up convolution that is not 1x1",
    { "lora_unet_a.lora_down.weight": [3, 5, 3, 3], "lora_unet_a.lora_up.weight": [7, 3, 3, 3] },
    /expected lora_up to be a 1x1 convolution/,
  ],
  ["a module without lora_up", { "lora_unet_a.lora_down.weight": [3, 5] }, /"lora_unet_a": it has no lora_up\.weight/],
  ["an alpha of two numbers", {
    "lora_unet_a.lora_down.weight": [3, 5],
    "lora_unet_a.lora_up.weight": [7, 3],
    "lora_unet_a.alpha": [2],
  }, /alpha has shape \[2\], expected one number/],
  [
    "another kind of adapter",
    { "lora_unet_a.hada_w1_a": [3, 5] },
    /"lora_unet_a\.hada_w1_a".*another kind of adapter than LoRA/,
  ],
  ["a module of no known part", { "unet.a.lora_down.weight": [3, 5] }, /starts with none of lora_te_/],
];

for (const [claim, shapes, message] of FAULTS) {
  Deno.test(`loraFrom() refuses ${claim}`, async () => {
    await rejects(loraFrom(await fileOf(shapes)), { name: "TypeError", message });
  });
}

Deno.test("serializeLora() refuses modules that readers would not take", () => {
  const up = { shape: [4, 3], values: new Float32Array(12) };
  throws(() => serializeLora([{ ...linear, up }]), { name: "TypeError", message: /ranks differ: 2 and 3/ });
  throws(() => serializeLora([{ ...linear, name: "fc1" }]), { name: "TypeError", message: /"fc1".*starts with none/ });
  throws(() => serializeLora([linear, linear]), { name: "TypeError", message: /the name is taken/ });
  throws(() => serializeLora([linear], { integerAlpha: true }), { name: "TypeError", message: /whole alphas.*0\.5/ });
});

Deno.test("writeTorchLora() writes a dict in the order of sd-scripts' state dict, with the same numbers", async () => {
  const folder = await Deno.makeTempDir(), path = join(folder, "small.pt");
  try {
    const modules = modulesByRule(expected.files["small_f16.safetensors"]);
    const { order } = expected.files["small_f16.pt"] as unknown as { order: string[] };
    // The network's own order of modules, which the safetensors file sorts away.
    const names = order.filter((key) => key.endsWith(".alpha")).map((key) => key.slice(0, -".alpha".length));
    const inOrder = names.map((name) => modules.find((module) => module.name === name)!);
    await writeTorchLora(path, inOrder, { precision: "fp16" });
    await using file = await openTensorFile(path);
    deepEqual([...file.tensors.keys()], order);
    const { modules: written } = await readLora(fileURLToPath(new URL("small_f16.safetensors", GOLDEN)));
    const byName = (all: readonly LoraFileModule[]) => new Map(all.map((module) => [module.name, module]));
    deepEqual(byName((await loraFrom(file)).modules), byName(written));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
