import { equal, ok, rejects } from "node:assert/strict";
import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { type FreeSpace, freeSpace } from "../formats/free_space.ts";
import { checkDiskSpace, type DiskUse } from "./disk_space.ts";
import { defineStep } from "./step.ts";
import { pipeline } from "./pipeline.ts";

const space = (folder: string): Promise<FreeSpace | null> =>
  Promise.resolve(folder === "net" ? null : { device: folder.startsWith("b") ? 2 : 1, freeBytes: 2048 });

Deno.test("checkDiskSpace() adds up what goes to one file system, and refuses with bytes, files and what would be less", async () => {
  const uses: DiskUse[] = [
    { what: "3 states", folder: "a", sizeBytes: 1536, less: "--save_state left out" },
    { what: "checkpoints", sizeBytes: 512 },
    { what: "latents", folder: "b", sizeBytes: 2048 },
    { what: "pictures", folder: "net", sizeBytes: 1e15 },
  ];
  await checkDiskSpace(uses, "a/run", space);
  await rejects(checkDiskSpace([...uses, { what: "logs", folder: "a/logs", sizeBytes: 1 }], "a/run", space), {
    name: "DiskSpaceError",
    message:
      "Not enough room on the disk of a: the run writes up to 2.0 KiB (2049 bytes), 2.0 KiB (2048 bytes) are free. " +
      "It writes\n  1.5 KiB: 3 states, in a; less with --save_state left out\n  512 bytes: checkpoints, in a/run\n" +
      "  1 bytes: logs, in a/logs\nFree some space, or let it write less",
  });
});

Deno.test("freeSpace() of a folder that is not there yet is that of the one above", async () => {
  const folder = await Deno.makeTempDir({ prefix: "dualora-disk-" });
  try {
    const found = await freeSpace(join(folder, "not", "there"));
    equal(found?.device, (await stat(folder)).dev);
    ok(found!.freeBytes > 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a run that finds no room does not start; steps that are done already need none", async () => {
  const folder = await Deno.makeTempDir({ prefix: "dualora-disk-" }), ran: string[] = [];
  const step = (name: string, sizeBytes: number) =>
    defineStep({
      name,
      version: 1,
      plan: () => ({ disk: [{ what: "much", sizeBytes }] }),
      run: () => void ran.push(name),
    });
  try {
    await mkdir(join(folder, "run"));
    const recipe = pipeline("large").use(step("small", 1)).use(step("large", 1e18));
    await rejects(
      recipe.run({ folder: join(folder, "run") }),
      /Not enough room on the disk of .*run: the run writes up to /,
    );
    equal(ran.length, 0);
    await pipeline("large").use(step("small", 1)).run({ folder: join(folder, "run") });
    await pipeline("large").use(step("small", 1)).use(step("other", 1)).run({ folder: join(folder, "run") });
    equal(ran.join(), "small,other");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
