import { equal, ok } from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { memorySource } from "../../formats/byte_source.ts";
import { SafetensorsFile } from "../../formats/safetensors.ts";
import { type TensorFile, TensorFileError } from "../../formats/tensor_file.ts";
import { TorchCheckpoint } from "../../formats/torch_checkpoint/torch_checkpoint.ts";
import { fuzzTest } from "./fuzz_case.ts";
import { anySafetensors } from "./headers.ts";
import { mutated } from "./mutation.ts";
import { anyCheckpoint } from "./pickles.ts";

const golden = fileURLToPath(new URL("../golden/files/", import.meta.url));

/** Small files of a folder of goldens, good and bad. */
function seedsIn(folder: string): Uint8Array[] {
  const names = readdirSync(golden + folder).filter((name) => !name.endsWith(".json")).sort();
  return names.map((name) => readFileSync(`${golden}${folder}/${name}`)).filter((bytes) => bytes.length < 20_000);
}

/**
 * Opens a file and reads all its tensors. It is right if each gives the bytes that it declares and the file cannot blow
 * up: no tensor is larger than the file, but for views that repeat elements and packed entries.
 */
async function readsOrRefuses(
  open: () => Promise<TensorFile>,
  fileBytes: number,
  check: (file: TensorFile, name: string) => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  try {
    const file = await open();
    for (const { name, sizeBytes } of file.tensors.values()) {
      ok(sizeBytes <= Math.max(2 ** 24, 100 * fileBytes), `${name} has ${sizeBytes} bytes in a file of ${fileBytes}`);
      equal((await file.bytes(name)).length, sizeBytes);
      await check(file, name);
    }
  } catch (error) {
    ok(error instanceof TensorFileError, String(error instanceof Error ? error.stack : error));
    ok(error.message.startsWith("Cannot read fuzzed"), error.message);
  }
}

const openTorch = (bytes: Uint8Array) => TorchCheckpoint.fromSource(memorySource(bytes, "fuzzed"), "fuzzed");
const openSafetensors = (bytes: Uint8Array) => SafetensorsFile.fromBytes(bytes, "fuzzed");

fuzzTest(
  "A changed safetensors file gives a typed error or the tensors it declares, in bounded time and memory",
  3000,
  mutated(seedsIn("safetensors")),
  (bytes) => readsOrRefuses(() => openSafetensors(bytes), bytes.length),
);

fuzzTest(
  "A safetensors file with any header gives a typed error or the tensors it declares, in bounded time and memory",
  2000,
  anySafetensors,
  (bytes) => readsOrRefuses(() => openSafetensors(bytes), bytes.length),
);

fuzzTest(
  "A changed checkpoint gives a typed error or the tensors it declares, in bounded time and memory",
  3000,
  mutated(seedsIn("checkpoints")),
  (bytes) => readsOrRefuses(() => openTorch(bytes), bytes.length),
);

fuzzTest("Any bytes give a typed error", 1000, fc.uint8Array({ maxLength: 300 }), async (bytes) => {
  await readsOrRefuses(() => openTorch(bytes), bytes.length);
  await readsOrRefuses(() => openSafetensors(bytes), bytes.length);
});

fuzzTest(
  "A pickle of any operations gives a typed error or parts of its storage, in bounded time and memory",
  3000,
  anyCheckpoint,
  // The one storage of these files holds 1, 2, 3, 4: what reads anything else has left it.
  (bytes) =>
    readsOrRefuses(() => openTorch(bytes), bytes.length, async (file, name) => {
      for (const value of await file.float32(name)) ok([1, 2, 3, 4].includes(value), `${name} holds ${value}`);
    }),
);
