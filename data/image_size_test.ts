import { deepEqual, equal, rejects } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import sharp from "sharp";
import { ImageError } from "./image_error.ts";
import { readImageSize, readImageSizes } from "./image_size.ts";

const folder = join(import.meta.dirname!, "../tests/golden/files/images");
const { files } = JSON.parse(await Deno.readTextFile(join(folder, "expected.json")));

Deno.test("readImageSizes() gives the size that Pillow gives, turned by EXIF", async () => {
  const names = Object.keys(files).filter((name) => files[name].error === undefined);
  const sizes = await readImageSizes(names.map((name) => join(folder, name)));
  deepEqual(
    Object.fromEntries(names.map((name, at) => [name, [sizes[at].width, sizes[at].height]])),
    Object.fromEntries(names.map((name) => [name, files[name].size])),
  );
  equal(names.length, 45);
});

Deno.test("readImageSize() names files that are no pictures, and such as are too large", async () => {
  for (const [name, fault] of [["empty.png", "empty"], ["text.png", "not_image"], ["bomb.png", "too_large"]]) {
    equal(files[name].error, fault);
    await rejects(readImageSize(join(folder, name)), (error: unknown) => {
      return error instanceof ImageError && error.fault === fault && error.file === join(folder, name);
    });
  }
  await rejects(readImageSize("/no/such.png"), { name: "ImageError", fault: "missing" });
});

Deno.test("readImageSize() finds a header behind more than the usual bytes", async () => {
  const file = await Deno.makeTempFile({ suffix: ".jpg" });
  try {
    const noise = Uint8Array.from({ length: 24 * 16 * 3 }, (_, at) => (at * 37) % 256);
    const plain = await sharp(noise, { raw: { width: 24, height: 16, channels: 3 } }).jpeg().toBuffer();
    // Comment segments of 60,000 bytes each between the start mark and the rest.
    const comment = new Uint8Array(2 + 60_000);
    comment.set([0xff, 0xfe, 60_000 >> 8, 60_000 & 0xff]);
    const parts = [plain.subarray(0, 2), comment, comment, comment, plain.subarray(2)];
    await Deno.writeFile(file, Uint8Array.from(parts.flatMap((part) => [...part])));
    deepEqual(await readImageSize(file), { width: 24, height: 16 });
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("readImageSize() turns a PNG whose orientation stands behind a long text", async () => {
  const file = await Deno.makeTempFile({ suffix: ".png" });
  try {
    // `exif_6.png` shows 32 x 48 pixels; its header, which says 48 x 32, ends at byte 33.
    const plain = await Deno.readFile(join(folder, "exif_6.png")),
      text = Buffer.from(`tEXtparameters\0${"a".repeat(20_000)}`);
    const chunk = Buffer.alloc(text.length + 8);
    chunk.writeUInt32BE(text.length - 4);
    chunk.set(text, 4);
    chunk.writeUInt32BE(crc32(text), text.length + 4);
    await Deno.writeFile(file, Buffer.concat([plain.subarray(0, 33), chunk, plain.subarray(33)]));
    deepEqual(await readImageSize(file), { width: 32, height: 48 });
  } finally {
    await Deno.remove(file);
  }
});
