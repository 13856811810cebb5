import { ok } from "node:assert/strict";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { CaptionError } from "../../data/caption.ts";
import { findDreamboothFolders } from "../../data/dreambooth_folder.ts";
import { DataFolderError, type FolderWarning, readImageFolder } from "../../data/image_folder.ts";
import { fuzzTest } from "./fuzz_case.ts";

const root = await Deno.makeTempDir(), training = join(root, "training");

const anyLetters = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 8 }),
  fc.constantFrom("a", "\u00e9t\u00e9", "e\u0301", "\u202egnp", "..", "-rf", "__proto__", "$(a)", "a\nb", " ", "%00"),
);
const anyEnding = fc.constantFrom(".png", ".jpg", ".JPG", ".webp", ".txt", ".caption", ".npz", ".json", "");
const anyName = fc.tuple(anyLetters, anyEnding).map(([name, ending]) =>
  `${name.replaceAll("/", "_").replaceAll("\0", "_")}${ending}`
).filter((name) => !["", ".", ".."].includes(name));
const anyFolder = fc.oneof(
  fc.tuple(fc.constantFrom("10_", "0_", "-1_", "1e3_", "x_", ""), anyName).map(([a, b]) => a + b),
  anyName,
);

/** Files by their places in a folder of folders, with what is in them. */
const anyTree = fc.array(fc.tuple(anyFolder, anyName, fc.constantFrom("", "a cat", "\u00ff", "\ufeffa")), {
  maxLength: 6,
});

fuzzTest(
  "A folder of folders with any names is read, or refused by an error that names what is wrong",
  400,
  anyTree,
  async (tree) => {
    await rm(training, { recursive: true, force: true });
    await mkdir(training);
    for (const [folder, name, text] of tree) {
      const path = join(training, folder, name);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, text);
    }
    const warnings: FolderWarning[] = [];
    try {
      for (const { path, classTokens } of (await findDreamboothFolders(training, "training")).folders) {
        ok(path.startsWith(training));
        for (const image of await readImageFolder(path, classTokens, "training", {}, warnings)) {
          ok(dirname(image.path) === path && typeof image.caption === "string");
        }
      }
    } catch (error) {
      const isTyped = error instanceof DataFolderError || error instanceof CaptionError;
      ok(isTyped && error.message.includes(training), String((error as Error).stack));
    }
  },
);
