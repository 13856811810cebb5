import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readNpz } from "./npz.ts";
import { TensorFileError } from "./tensor_file.ts";

const folder = join(import.meta.dirname!, "../tests/golden/files/npz");

/** What gen_npz.py writes: channel + row / 10 + column / 100. */
function byRule(height: number, width: number, round: (value: number) => number): number[] {
  return Array.from({ length: 4 * height * width }, (_, i) => {
    const column = i % width, row = Math.floor(i / width) % height, channel = Math.floor(i / width / height);
    return round(channel + row / 10 + column / 100);
  });
}

Deno.test("readNpz() reads arrays that numpy saved, packed or not, in 16, 32 and 64 bits", async () => {
  const cases = [["new", 8, 6, Math.fround], ["packed", 8, 6, Math.fround], ["half", 2, 3, Math.f16round], [
    "double",
    2,
    3,
    Math.fround,
  ]] as const;
  for (const [name, height, width, round] of cases) {
    const found = await readNpz(join(folder, `${name}.npz`), ["latents", "nothing"]);
    deepEqual([...found.keys()], ["latents"]);
    const { shape, values } = found.get("latents")!;
    deepEqual(shape, [4, height, width], name);
    deepEqual([...values], byRule(height, width, round), name);
  }
  deepEqual((await readNpz(join(folder, "old.npz"), ["arr_0"])).get("arr_0")!.shape, [4, 8, 6]);
});

Deno.test("readNpz() says what it cannot read", async () => {
  const read = (name: string) => readNpz(join(folder, `${name}.npz`), ["arr_0"]);
  await rejects(
    read("bad_fortran"),
    /bad_fortran.npz, tensor "arr_0": its header is .*'fortran_order': True.* C's order/,
  );
  await rejects(read("bad_integers"), /tensor "arr_0": its header is .*<i8.*, expected <f2, <f4 or <f8/);
  await rejects(read("none"), /ENOENT/);
});

Deno.test("readNpz() refuses every file that was cut or changed, and never hangs", async () => {
  const whole = await readFile(join(folder, "alone.npz")), path = await Deno.makeTempFile({ suffix: ".npz" });
  try {
    for (let at = 0; at < whole.length; at += 7) {
      await writeFile(path, whole.subarray(0, at));
      await rejects(readNpz(path, ["arr_0"]), TensorFileError, `cut at ${at}`);
      const changed = Uint8Array.from(whole);
      changed[at] ^= 0x55;
      await writeFile(path, changed);
      const error = await readNpz(path, ["arr_0"]).then(() => null, (error) => error);
      // Dates, versions and names of no use may change; the elements are under a checksum.
      ok(error === null || error instanceof TensorFileError, `${error?.stack}`);
      if (at > 200 && at < 900) equal(error?.fault, "zip", `byte ${at}`);
    }
  } finally {
    await Deno.remove(path);
  }
});
