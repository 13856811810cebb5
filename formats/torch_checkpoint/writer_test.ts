import { deepEqual, equal, rejects } from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ELEMENT_SIZE_BYTES, type ElementType } from "../element_types.ts";
import type { TensorData } from "../tensor_data.ts";
import { TorchCheckpoint } from "./torch_checkpoint.ts";
import { writeTorchCheckpoint } from "./writer.ts";

/** A tensor of each type, bytes counting from 1; BOOL's alternate. */
function tensorOfEach(): TensorData[] {
  return Object.entries(ELEMENT_SIZE_BYTES).map(([name, elementBytes]) => {
    const type = name as ElementType;
    const bytes = Uint8Array.from({ length: 6 * elementBytes }, (_, i) => type === "BOOL" ? i % 2 : i + 1);
    return { name: `${type}.weight`, type, shape: [2, 3], bytes };
  });
}

const scalar: TensorData = { name: "alpha", type: "F32", shape: [], bytes: new Uint8Array([0, 0, 0x20, 0x40]) };
const empty: TensorData = { name: "größe", type: "F16", shape: [0, 4], bytes: new Uint8Array() };

Deno.test("writeTorchCheckpoint() writes the bytes that torch.load() was seen to read", async () => {
  // tools/reference/files/read_checkpoint.py printed, of the file with this hash, under PyTorch 1.13.1 with and without weights_only:
  // all twelve tensors with these types, shapes and bytes, epoch 3 and global_step 70000.
  const path = join(await Deno.makeTempDir(), "written.ckpt");
  const counters = new Map([["epoch", 3], ["global_step", 70000]]);
  await writeTorchCheckpoint(path, [...tensorOfEach(), scalar, empty], { within: "state_dict", counters });
  const hash = createHash("sha256").update(await readFile(path)).digest("hex");
  equal(hash, "1a2dae638298368c1ed5999464250c645f798c9f4d3646cb42544a3da5a9e745");
});

Deno.test("What writeTorchCheckpoint() wrote reads back: names in order, types, shapes, bytes, counters", async () => {
  const path = join(await Deno.makeTempDir(), "written.pt");
  const tensors = [...tensorOfEach(), scalar, empty];
  for (const within of [undefined, "state_dict"]) {
    await writeTorchCheckpoint(path, tensors, { within, counters: new Map([["big", 2 ** 40]]) });
    await using file = await TorchCheckpoint.open(path);
    equal(file.format, "torch zip");
    deepEqual(file.within, within === undefined ? [] : [within]);
    deepEqual(file.metadata, new Map([["big", String(2 ** 40)]]));
    const read = await Promise.all([...file.tensors.values()].map(async ({ name, type, shape }) => {
      return { name, type, shape, bytes: await file.bytes(name) };
    }));
    deepEqual(read, tensors);
  }
});

Deno.test("writeTorchCheckpoint() asks sources one after another and holds few of them", async () => {
  const path = join(await Deno.makeTempDir(), "written.pt");
  let running = 0;
  const asked: string[] = [];
  await writeTorchCheckpoint(
    path,
    ["b", "a", "c"].map((name) => ({
      name,
      type: "U8",
      shape: [3_000_000],
      async read() {
        equal(++running, 1);
        await new Promise((resolve) => setTimeout(resolve, 5));
        running--;
        asked.push(name);
        return new Uint8Array(3_000_000).fill(name.charCodeAt(0));
      },
    })),
  );
  deepEqual(asked, ["b", "a", "c"]);
  await using file = await TorchCheckpoint.open(path);
  deepEqual(await file.bytes("c"), new Uint8Array(3_000_000).fill("c".charCodeAt(0)));
});

Deno.test("writeTorchCheckpoint() that fails leaves what was there and no temporary file", async () => {
  const folder = await Deno.makeTempDir(), path = join(folder, "old.pt");
  await writeFile(path, "old");
  const { bytes: _, ...facts } = scalar;
  const broken = { ...facts, name: "broken", read: () => Promise.reject(new Error("no power")) };
  await rejects(writeTorchCheckpoint(path, [scalar, broken]), /no power/);
  await rejects(writeTorchCheckpoint(path, [scalar, { ...scalar, name: "x", shape: [2] }]), {
    name: "TypeError",
    message: /"x": it has 4 bytes, but shape \[2\] of F32 needs 8/,
  });
  await rejects(writeTorchCheckpoint(path, [scalar, scalar]), {
    name: "TypeError",
    message: /"alpha": the name is taken/,
  });
  deepEqual(await readdir(folder), ["old.pt"]);
  equal(await readFile(path, "utf8"), "old");
});
