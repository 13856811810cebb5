import { deepEqual, equal, ok } from "node:assert/strict";
import { join } from "node:path";
import { findDreamboothFolders, parseFolderName } from "./dreambooth_folder.ts";
import { DataFolderError } from "./image_folder.ts";
import { withFiles } from "./_test_files.ts";
import { makeLink } from "../tests/make_link.ts";

const goldens = JSON.parse(await Deno.readTextFile(join(import.meta.dirname!, "../tests/golden/files/captions.json")));

Deno.test("parseFolderName() reads names as sd-scripts does", () => {
  for (const [name, repeats, classTokens] of goldens.folders.rows) {
    deepEqual(parseFolderName(name), repeats === null ? undefined : { repeats, classTokens }, name);
  }
});

Deno.test("findDreamboothFolders() gives the N_name folders in order and says what it leaves out", async () => {
  const files = { "loose.png": "", "cats/a.png": "", "0_none/a.png": "", "2_cat/a.png": "", "10_sks dog/a.png": "" };
  await withFiles(files, async (root) => {
    const { folders, warnings } = await findDreamboothFolders(root, "training");
    deepEqual(folders, [
      { path: join(root, "10_sks dog"), repeats: 10, classTokens: "sks dog" },
      { path: join(root, "2_cat"), repeats: 2, classTokens: "cat" },
    ]);
    deepEqual(warnings.map(({ kind, path }) => [kind, path]), [
      ["image_outside", join(root, "loose.png")],
      ["folder_without_repeats", join(root, "0_none")],
      ["folder_without_repeats", join(root, "cats")],
    ]);
    for (const { path, message } of warnings) ok(message.includes(path.replace(/.loose.png$/, "")), message);
  });
});

async function message(root: string, path: string, what = "training"): Promise<string> {
  try {
    await findDreamboothFolders(join(root, path), what);
  } catch (error) {
    ok(error instanceof DataFolderError);
    return error.message.replaceAll(root, "ROOT");
  }
  throw new Error("read without an error");
}

Deno.test("findDreamboothFolders() says what is wrong with a folder", async () => {
  await withFiles({ "file.txt": "" }, async (root) => {
    equal(
      await message(root, "none", "regularization"),
      "Cannot read the regularization folder ROOT/none: there is no such folder",
    );
  });
  const wanted = "it must hold subfolders called N_name with the images in them, N being the repeats (10_sks dog)";
  await withFiles({ "cats/a.png": "", "dogs/a.png": "" }, async (root) => {
    equal(await message(root, "."), `Cannot use the training folder ROOT: its subfolders are cats, dogs; ${wanted}`);
  });
  await withFiles({ "a.png": "", "b.png": "" }, async (root) => {
    equal(await message(root, "."), `Cannot use the training folder ROOT: it has 2 images and no subfolder; ${wanted}`);
  });
});

Deno.test("findDreamboothFolders() takes an empty folder only where it may be empty", async () => {
  await withFiles({ "elsewhere/file.txt": "" }, async (root) => {
    await Deno.mkdir(join(root, "none"));
    ok((await message(root, "none")).startsWith("Cannot use the training folder ROOT/none: it has no subfolder; "));
    const { folders, warnings } = await findDreamboothFolders(join(root, "none"), "regularization", {
      mayBeEmpty: true,
    });
    deepEqual(folders, []);
    deepEqual(warnings.map(({ message }) => message), [`the regularization folder ${join(root, "none")} is empty`]);
  });
});

Deno.test("findDreamboothFolders() follows links to folders", async () => {
  await withFiles({ "data/a.png": "" }, async (root) => {
    await Deno.mkdir(join(root, "train"));
    await makeLink(join(root, "data"), join(root, "train/4_cat"));
    const { folders } = await findDreamboothFolders(join(root, "train"), "training");
    deepEqual(folders, [{ path: join(root, "train/4_cat"), repeats: 4, classTokens: "cat" }]);
  });
});
