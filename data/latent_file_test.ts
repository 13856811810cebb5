import { deepEqual, equal, rejects } from "node:assert/strict";
import { join } from "node:path";
import { readLatentFile } from "./latent_file.ts";

const folder = join(import.meta.dirname!, "../tests/golden/files/npz"),
  file = (name: string) => join(folder, `${name}.npz`);

/** What gen_npz.py writes, with the channels last; of a mirrored picture 1000 more. */
function byRule(added: number): number[] {
  return Array.from({ length: 8 * 6 * 4 }, (_, i) => {
    const channel = i % 4, column = Math.floor(i / 4) % 6, row = Math.floor(i / 24);
    return Math.fround(channel + row / 10 + column / 100 + added);
  });
}

Deno.test("readLatentFile() reads what sd-scripts 0.6.4 and its later releases write, of both ways round", async () => {
  for (const name of ["old", "new", "alone", "packed", "sized_0096x0128_sd"]) {
    const { shape, values } = await readLatentFile(file(name), false);
    deepEqual(shape, [8, 6, 4], name);
    deepEqual([...values], byRule(0), name);
  }
  // 0.6.4 has a second file, later releases a second array.
  for (const name of ["old", "new"]) {
    deepEqual([...(await readLatentFile(file(name), true)).values], byRule(1000), name);
  }
});

Deno.test("readLatentFile() says which latents are missing", async () => {
  for (const name of ["alone", "packed"]) {
    const error = await readLatentFile(file(name), true).then(() => null, (error) => error);
    equal(
      error?.message,
      `Cannot read the latents ${
        file(name)
      }: there are none of the mirrored picture (flipAug), expected latents_flipped ` +
        `in it, or ${join(folder, `${name}_flip.npz`)}`,
    );
  }
  await rejects(readLatentFile(file("bad_nothing"), false), /bad_nothing.npz: there are none in it$/);
  await rejects(readLatentFile(file("bad_channels"), false), /their shape is \[3,2,3\], expected \[4, height, width\]/);
});
