import { deepEqual, equal, rejects } from "node:assert/strict";
import { mkdir, readdir, readFile, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { removeLeftovers, removeOldLeftovers, writeFolderAtomically } from "./atomic_folder.ts";
import { tellingWriteErrors } from "./write_errors.ts";

const ids = ["01234567-89ab-cdef-0123-456789abcdef", "11234567-89ab-cdef-0123-456789abcdef"];

async function inNewFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("writeFolderAtomically() replaces a folder, and leaves the old one where the new one cannot be filled", () =>
  inNewFolder(async (folder) => {
    const path = join(folder, "a-state"), text = () => readFile(join(path, "x"), "utf8");
    const write = (content: string) =>
      writeFolderAtomically(path, async (inside) => {
        await writeFile(join(inside, "x"), content);
        if (content === "bad") throw new RangeError("Cannot write x: it is bad");
        // The old one is in its place until the new one is whole.
        if (content === "new") equal(await text(), "old");
      });
    await write("old");
    await write("new");
    equal(await text(), "new");
    await rejects(write("bad"), /it is bad/);
    equal(await text(), "new");
    deepEqual(await readdir(folder), ["a-state"]);
  }));

Deno.test("a folder that was to be replaced when the process was killed gets its name back, unless the new one lies there", () =>
  inNewFolder(async (folder) => {
    const make = async (name: string) => {
      await mkdir(join(folder, name));
      await writeFile(join(folder, name, "x"), name);
    };
    // Killed between the two renames; and behind them.
    await make(`.tmp-old-a-state-${ids[0]}`);
    await make(`.tmp-a-state-${ids[1]}`);
    await make(`.tmp-old-b-state-${ids[0]}`);
    await make("b-state");
    // Another run's.
    await make(`.tmp-old-c-state-${ids[0]}`);
    await removeLeftovers(folder, (name) => name !== "c-state");
    deepEqual((await readdir(folder)).sort(), [`.tmp-old-c-state-${ids[0]}`, "a-state", "b-state"]);
    equal(await readFile(join(folder, "a-state", "x"), "utf8"), `.tmp-old-a-state-${ids[0]}`);
    equal(await readFile(join(folder, "b-state", "x"), "utf8"), "b-state");
  }));

Deno.test("a folder that this user may not write in is told, with what to do", () =>
  inNewFolder(async (folder) => {
    const path = join(folder, "locked", "a-state");
    await mkdir(join(folder, "locked"), { mode: 0o500 });
    const refused = () => Promise.reject(Object.assign(new Error("EACCES: permission denied"), { code: "EACCES" }));
    // root may write everywhere.
    const told = await writeFolderAtomically(path, () => Promise.resolve()).then(
      () => tellingWriteErrors(path, () => null, refused).then(() => null, (error) => error),
      (error) => error,
    );
    equal(
      `${told}`,
      `NotWritableError: Cannot write ${path}: this user may not write in ${
        join(folder, "locked")
      }; permit it, or name another folder`,
    );
  }));

Deno.test("in a folder that runs share, hidden files go that nobody has changed for an hour, and no others", () =>
  inNewFolder(async (folder) => {
    const now = Date.now() / 1000, [old, fresh, own] = [`.a.png.tmp-${ids[0]}`, `.b.png.tmp-${ids[1]}`, ".hidden.png"];
    for (const name of [old, fresh, own, "c.png"]) await writeFile(join(folder, name), "");
    for (const name of [old, own, "c.png"]) await utimes(join(folder, name), now - 3700, now - 3700);
    await removeOldLeftovers(folder);
    deepEqual((await readdir(folder)).sort(), [fresh, own, "c.png"].sort());
    await removeOldLeftovers(join(folder, "not there"));
  }));
