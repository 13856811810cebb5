import { deepEqual, equal, rejects, throws } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { ElementType } from "../element_types.ts";
import { openTensorFile } from "../open_tensor_file.ts";
import { type TensorFile, TensorFileError } from "../tensor_file.ts";
import { TorchCheckpoint } from "./torch_checkpoint.ts";

// tests/golden/files/checkpoints/expected.json says how the files were made and what PyTorch makes of them. Its hashes are
// those of the values as float32, whatever the element type.
const golden = fileURLToPath(new URL("../../tests/golden/files/checkpoints/", import.meta.url));

interface ExpectedTensor {
  dtype: string;
  shape: number[];
  sha256: string;
}

interface Expected {
  ok: boolean;
  note: string;
  error?: string;
  or?: string[];
  names?: string;
  touches?: string;
  may_refuse?: string;
  may_accept?: Record<string, ExpectedTensor>;
  tensors?: Record<string, ExpectedTensor>;
  extras?: Record<string, number>;
}

const expected: { files: Record<string, Expected> } = JSON.parse(await readFile(`${golden}expected.json`, "utf8"));

const dtypes: Record<ElementType, string> = {
  F64: "float64",
  F32: "float32",
  F16: "float16",
  BF16: "bfloat16",
  I64: "int64",
  I32: "int32",
  I16: "int16",
  I8: "int8",
  U8: "uint8",
  BOOL: "bool",
};

async function asFloat32(file: TensorFile, name: string): Promise<Float32Array> {
  const { type } = file.entry(name);
  if (type === "I64") return Float32Array.from(new BigInt64Array((await file.bytes(name)).buffer), Number);
  return /^B?F/.test(type) ? await file.float32(name) : new Float32Array(await file.int32(name));
}

/** Opens a file and reads all of it. */
async function readAll(path: string): Promise<{ tensors: Record<string, ExpectedTensor>; metadata: unknown }> {
  await using file = await openTensorFile(path);
  const tensors: [string, ExpectedTensor][] = [];
  for (const { name, type, shape } of file.tensors.values()) {
    const sha256 = createHash("sha256").update(new Uint8Array((await asFloat32(file, name)).buffer)).digest("hex");
    tensors.push([name, { dtype: dtypes[type], shape: [...shape], sha256 }]);
  }
  // Not Object.fromEntries() of an object with a prototype: a tensor may be called __proto__.
  return { tensors: Object.fromEntries(tensors), metadata: file.metadata };
}

for (const [name, wanted] of Object.entries(expected.files)) {
  const verdict = wanted.ok ? "reads" : `refuses as ${wanted.error}`;
  Deno.test(`openTensorFile() ${verdict} ${name}${wanted.note && ` (${wanted.note})`}`, async () => {
    let read;
    try {
      read = await readAll(golden + name);
    } catch (error) {
      equal(error instanceof TensorFileError, true, String(error));
      const { fault, message } = error as TensorFileError;
      const faults = wanted.ok ? [wanted.may_refuse] : [wanted.error, ...wanted.or ?? []];
      equal(faults.includes(fault), true, `${fault}: ${message}`);
      equal(message.includes(name), true, message);
      if (wanted.names !== undefined) equal(message.includes(wanted.names), true, message);
      return;
    }
    deepEqual(read.tensors, wanted.ok ? wanted.tensors : wanted.may_accept);
    for (const [key, value] of Object.entries(wanted.extras ?? {})) {
      equal((read.metadata as Map<string, string>).get(key), String(value));
    }
  });
}

Deno.test("No hostile checkpoint has made its file", async () => {
  for (const { touches } of Object.values(expected.files)) {
    if (touches !== undefined) equal(await stat(touches).catch(() => null), null, touches);
  }
});

Deno.test("bytes() reads any part of a tensor: of a plain entry, a compressed one, a view, a legacy file", async () => {
  for (
    const [name, tensor] of [
      ["zip_plain.ckpt", "a.weight"],
      ["zip_deflated.ckpt", "x"],
      ["zip_views.ckpt", "transposed"],
      ["zip_views.ckpt", "corner"],
      ["legacy_views.ckpt", "permuted"],
      ["legacy_plain.ckpt", "a.weight"],
    ]
  ) {
    await using file = await openTensorFile(golden + name);
    const whole = await file.bytes(tensor), { length } = whole;
    for (const [startBytes, sizeBytes] of [[0, length], [0, 1], [5, 7], [length - 3, 3], [length, 0]]) {
      const part = await file.bytes(tensor, { startBytes, sizeBytes });
      deepEqual(part, whole.slice(startBytes, startBytes + sizeBytes), `${name} ${tensor} ${startBytes} ${sizeBytes}`);
    }
    throws(() => file.bytes(tensor, { startBytes: 1, sizeBytes: length }), {
      name: "RangeError",
      message: /asked for/,
    });
    throws(() => file.bytes(tensor, { startBytes: -1, sizeBytes: 1 }), RangeError);
  }
});

Deno.test("TorchCheckpoint takes state_dict by itself, and the dict that is asked for", async () => {
  const path = `${golden}zip_nested.ckpt`;
  await using file = await TorchCheckpoint.open(path);
  deepEqual(file.within, ["state_dict"]);
  await using same = await TorchCheckpoint.open(path, { within: ["state_dict"] });
  deepEqual([...same.tensors.keys()], [...file.tensors.keys()]);
  await rejects(TorchCheckpoint.open(path, { within: [] }), {
    fault: "not_tensors",
    message: /no tensors with names; there are some under \["state_dict"\]/,
  });
  await rejects(TorchCheckpoint.open(path, { within: ["ema"] }), { fault: "not_tensors", message: /under "ema"/ });
  throws(() => file.entry("x"), {
    fault: "missing",
    message: /zip_nested\.ckpt, tensor "x".*such as "model\.diffusion/,
  });
});

/** A pickle as the first one of a legacy file. */
const startOf = (...pieces: (number[] | Uint8Array)[]) =>
  new Uint8Array(Buffer.concat([[0x80, 2], ...pieces].map(Buffer.from)));

Deno.test("A pickle of millions of operations, or of more bytes than any checkpoint's, is refused before it takes memory", async () => {
  const emptyDicts = new Uint8Array(2_200_000).fill("}".charCodeAt(0));
  await rejects(TorchCheckpoint.fromBytes(startOf(emptyDicts), "dicts"), { fault: "limit", message: /operations/ });
  const longText = startOf([0x58, 0, 0, 0, 3], new Uint8Array(50_000_000));
  await rejects(TorchCheckpoint.fromBytes(longText, "text"), { fault: "limit", message: /pickles have more than/ });
});
