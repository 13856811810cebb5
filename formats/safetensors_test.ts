import { deepEqual, equal, rejects, throws } from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { ELEMENT_SIZE_BYTES, type ElementType } from "./element_types.ts";
import {
  SafetensorsError,
  SafetensorsFile,
  serializeSafetensors,
  type TensorData,
  writeSafetensors,
} from "./safetensors.ts";

// tests/golden/files/safetensors/expected.json says how the files were made and what the Python library makes of them.
// Its hashes are those of the values as float32, whatever the element type.
const GOLDEN = new URL("../tests/golden/files/safetensors/", import.meta.url);

interface Expected {
  ok: boolean;
  note: string;
  error?: string;
  or?: string[];
  may_refuse?: string;
  metadata?: Record<string, string> | null;
  tensors?: Record<string, { dtype: string; shape: number[]; sha256: string }>;
  order?: string[];
  written_by?: string;
}

const expected: { files: Record<string, Expected> } = JSON.parse(
  await readFile(new URL("expected.json", GOLDEN), "utf8"),
);

async function readAll(file: SafetensorsFile): Promise<TensorData[]> {
  const entries = [...file.tensors.values()];
  return await Promise.all(
    entries.map(async ({ name, type, shape }) => ({ name, type, shape, bytes: await file.bytes(name) })),
  );
}

async function asFloat32(file: SafetensorsFile, name: string): Promise<Float32Array> {
  const { type } = file.entry(name);
  if (type === "I64") return Float32Array.from(new BigInt64Array((await file.bytes(name)).buffer), Number);
  return /^B?F/.test(type) ? await file.float32(name) : new Float32Array(await file.int32(name));
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

for (const [name, wanted] of Object.entries(expected.files)) {
  const verdict = !wanted.ok ? `refuses as ${wanted.error}` : wanted.may_refuse ? "refuses the type of" : "reads";
  Deno.test(`SafetensorsFile ${verdict} ${name} (${wanted.note})`, async () => {
    const bytes = await readFile(new URL(name, GOLDEN));
    if (!wanted.ok || wanted.may_refuse) {
      const faults = wanted.ok ? [wanted.may_refuse] : [wanted.error, ...(wanted.or ?? [])];
      await rejects(SafetensorsFile.fromBytes(bytes, name), (error) => {
        equal(error instanceof SafetensorsError && error.message.includes(name), true, String(error));
        equal(faults.includes((error as SafetensorsError).fault), true, String(error));
        return true;
      });
      return;
    }
    const file = await SafetensorsFile.fromBytes(bytes, name);
    deepEqual(file.metadata && Object.fromEntries(file.metadata), wanted.metadata ?? null);
    equal(file.tensors.size, Object.keys(wanted.tensors!).length);
    for (const [tensor, { dtype, shape, sha256: hash }] of Object.entries(wanted.tensors!)) {
      deepEqual([file.entry(tensor).type, file.entry(tensor).shape], [dtype, shape]);
      const values = await asFloat32(file, tensor);
      equal(sha256(new Uint8Array(values.buffer)), hash, tensor);
    }
    if (wanted.order !== undefined) deepEqual([...file.tensors.keys()], wanted.order);
  });

  if (wanted.written_by === undefined) continue;
  Deno.test(`serializeSafetensors() writes ${name} as ${wanted.written_by} does, byte for byte`, async () => {
    const bytes = await readFile(new URL(name, GOLDEN));
    const file = await SafetensorsFile.fromBytes(bytes, name);
    const tensors = (await readAll(file)).reverse();
    deepEqual(serializeSafetensors(tensors, { metadata: file.metadata ?? undefined }), new Uint8Array(bytes));
  });
}

const anyTensors = fc.uniqueArray(
  fc.record({
    name: fc.string({ unit: "grapheme" }).filter((name) => name !== "__metadata__"),
    type: fc.constantFrom(...Object.keys(ELEMENT_SIZE_BYTES) as ElementType[]),
    shape: fc.array(fc.nat(4), { maxLength: 4 }),
    fill: fc.nat(255),
  }).map(({ name, type, shape, fill }): TensorData => {
    const sizeBytes = shape.reduce((count, size) => count * size, ELEMENT_SIZE_BYTES[type]);
    return { name, type, shape, bytes: new Uint8Array(sizeBytes).map((_, i) => (fill + 7 * i) & 255) };
  }),
  { selector: ({ name }) => name, maxLength: 6 },
);
const anyMetadata = fc.option(
  fc.array(fc.tuple(fc.string({ unit: "grapheme" }), fc.string({ unit: "grapheme" }))).map((pairs) => new Map(pairs)),
  { nil: undefined },
);

Deno.test("Any tensors and metadata read back as they were written", async () => {
  await fc.assert(fc.asyncProperty(anyTensors, anyMetadata, async (tensors, metadata) => {
    const written = serializeSafetensors(tensors, { metadata });
    const file = await SafetensorsFile.fromBytes(written, "memory");
    deepEqual(file.metadata, metadata ?? null);
    const byName = (a: TensorData, b: TensorData) => (a.name < b.name ? -1 : 1);
    deepEqual((await readAll(file)).sort(byName), tensors.toSorted(byName));
    deepEqual(serializeSafetensors(tensors.toReversed(), { metadata }), written);
    equal(new DataView(written.buffer).getUint32(0, true) % 8, 0);
  }));
});

Deno.test("A flipped bit gives a typed error or another sound file, never a crash", async () => {
  await fc.assert(
    fc.asyncProperty(anyTensors, anyMetadata, fc.nat(), async (tensors, metadata, place) => {
      const written = serializeSafetensors(tensors, { metadata });
      const bit = place % (written.length * 8);
      const damaged = written.slice();
      damaged[bit >> 3] ^= 1 << (bit & 7);
      try {
        const file = await SafetensorsFile.fromBytes(damaged, "damaged");
        const sizes = (await readAll(file)).map(({ bytes }) => bytes.length);
        const dataStart = 8 + Number(new DataView(damaged.buffer).getBigUint64(0, true));
        equal(sizes.reduce((a, b) => a + b, 0), written.length - dataStart);
      } catch (error) {
        equal(error instanceof SafetensorsError, true, String(error));
      }
    }),
    { numRuns: 500 },
  );
});

Deno.test("SafetensorsFile takes an empty tensor that the header names behind the one at its offset", async () => {
  const header =
    '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}';
  const bytes = new Uint8Array([header.length, 0, 0, 0, 0, 0, 0, 0, ...new TextEncoder().encode(header), 9]);
  const file = await SafetensorsFile.fromBytes(bytes, "memory");
  deepEqual([await file.int32("a"), await file.int32("b")], [new Int32Array([9]), new Int32Array()]);
});

Deno.test("A file cut anywhere is refused", async () => {
  const tensor: TensorData = { name: "x", type: "F32", shape: [2], bytes: new Uint8Array(8) };
  const written = serializeSafetensors([tensor]);
  for (let length = 0; length < written.length; length++) {
    await rejects(SafetensorsFile.fromBytes(written.subarray(0, length), "cut"), { fault: "truncated" });
  }
});

Deno.test("writeSafetensors() leaves one whole file and no temporary one", async () => {
  const folder = await Deno.makeTempDir();
  const path = join(folder, "weights.safetensors");
  const tensor: TensorData = { name: "x", type: "U8", shape: [3], bytes: new Uint8Array([1, 2, 3]) };
  await writeFile(path, "old");
  await writeSafetensors(path, [tensor], { metadata: new Map([["format", "pt"]]) });
  deepEqual(await readdir(folder), ["weights.safetensors"]);
  await using file = await SafetensorsFile.open(path);
  deepEqual(await file.bytes("x"), tensor.bytes);
  deepEqual(file.metadata, new Map([["format", "pt"]]));
});

Deno.test("writeSafetensors() that fails leaves what was there and no temporary file", async () => {
  const folder = await Deno.makeTempDir();
  const path = join(folder, "weights.safetensors");
  // Nothing can be renamed onto a folder that is not empty.
  await mkdir(join(path, "inside"), { recursive: true });
  await rejects(writeSafetensors(path, []));
  deepEqual(await readdir(folder), ["weights.safetensors"]);
});

Deno.test("SafetensorsFile reads one tensor at a time from the disk", async () => {
  const path = join(await Deno.makeTempDir(), "two.safetensors");
  const zeros = { type: "F32", shape: [1000], bytes: new Uint8Array(4000) } as const;
  await writeSafetensors(path, [{ name: "a", ...zeros }, { name: "b", ...zeros }]);
  await using file = await SafetensorsFile.open(path);
  await truncate(path, file.entry("b").startBytes);
  deepEqual(await file.float32("a"), new Float32Array(1000));
  await rejects(file.bytes("b"), { fault: "truncated", message: /two\.safetensors.*shortened while it was open/ });
});

Deno.test("SafetensorsFile names file and tensor when a tensor is missing or of another kind", async () => {
  const bytes = serializeSafetensors([{ name: "steps", type: "I64", shape: [1], bytes: new Uint8Array(8).fill(127) }]);
  const file = await SafetensorsFile.fromBytes(bytes, "state.safetensors");
  throws(() => file.entry("step"), { fault: "missing", message: /state\.safetensors.*"step".*such as "steps"/ });
  await rejects(file.float32("steps"), { name: "TypeError", message: /state\.safetensors.*"steps".*I64/ });
  await rejects(file.int32("steps"), { name: "RangeError", message: /state\.safetensors.*"steps".*Element 0/ });
});

Deno.test("serializeSafetensors() refuses names and sizes that cannot be read back", () => {
  const tensor: TensorData = { name: "x", type: "F32", shape: [2], bytes: new Uint8Array(8) };
  throws(() => serializeSafetensors([tensor, tensor]), { name: "TypeError", message: /"x": the name is taken/ });
  throws(() => serializeSafetensors([{ ...tensor, name: "__metadata__" }]), { name: "TypeError" });
  throws(() => serializeSafetensors([{ ...tensor, name: "\ud800" }]), { name: "TypeError", message: /surrogate/ });
  throws(() => serializeSafetensors([{ ...tensor, shape: [3] }]), { message: /8 bytes, but shape \[3\].* needs 12/ });
});
