import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { join } from "node:path";
import { CaptionError } from "./caption.ts";
import { DataFolderError, isImageName, parseFolderName, readDreamboothFolders } from "./dreambooth_folder.ts";
import { compareCodePoints } from "../formats/text_order.ts";

const goldens = JSON.parse(await Deno.readTextFile(join(import.meta.dirname!, "../tests/golden/files/captions.json")));

/** Makes files in a new temporary folder, given as path to Latin-1 content, and removes them after use. */
async function withFiles(files: Record<string, string>, use: (root: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    for (const [path, content] of Object.entries(files)) {
      await Deno.mkdir(join(root, path, ".."), { recursive: true });
      await Deno.writeFile(join(root, path), Uint8Array.from(content, (character) => character.charCodeAt(0)));
    }
    await use(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("parseFolderName() reads names as sd-scripts does", () => {
  for (const [name, repeats, classTokens] of goldens.folders.rows) {
    deepEqual(parseFolderName(name), repeats === null ? undefined : { repeats, classTokens }, name);
  }
});

Deno.test("isImageName() and the sorting find the images that sd-scripts finds", () => {
  const found = goldens.images.names.filter(isImageName).sort(compareCodePoints);
  // sd-scripts takes a folder called folder.png for an image; here only files are asked about.
  deepEqual(found, goldens.images.found.filter((name: string) => name !== "folder.png"));
});

Deno.test("readDreamboothFolders() gives the captions that sd-scripts gives", async () => {
  let read = 0;
  for (const { files, image, caption_extension, class_tokens, caption, error } of goldens.files.cases) {
    const folder = `1_${class_tokens ?? ""}`;
    const contents = Object.fromEntries(
      Object.entries<string>(files).map(([name, text]) => [`${folder}/${name}`, text]),
    );
    await withFiles({ ...contents, [`${folder}/${image}`]: "" }, async (root) => {
      const options = { captionExtension: caption_extension, captionWithoutImage: "warn" as const };
      const reading = readDreamboothFolders(root, "training", options);
      if (error !== undefined) {
        await rejects(reading, CaptionError);
      } else {
        equal((await reading).folders[0].images[0].caption, caption, JSON.stringify(files));
      }
    });
    read++;
  }
  equal(read, 36);
});

Deno.test("readDreamboothFolders() reads folders and images in order, with .caption or .txt", async () => {
  const files = {
    "10_sks dog/b.png": "",
    "10_sks dog/a.jpg": "",
    "10_sks dog/a.txt": "text",
    "10_sks dog/a.caption": "caption",
    "10_sks dog/b.txt": "b text\nmore",
    "2_cat/10.webp": "",
    "2_cat/9.webp": "",
  };
  await withFiles(files, async (root) => {
    const { folders, warnings } = await readDreamboothFolders(root, "training");
    const dog = join(root, "10_sks dog");
    const cat = join(root, "2_cat");
    deepEqual(folders, [
      {
        path: dog,
        repeats: 10,
        classTokens: "sks dog",
        images: [
          { path: join(dog, "a.jpg"), caption: "caption", captionFile: join(dog, "a.caption") },
          { path: join(dog, "b.png"), caption: "b text", captionFile: join(dog, "b.txt") },
        ],
      },
      {
        path: cat,
        repeats: 2,
        classTokens: "cat",
        images: [{ path: join(cat, "10.webp"), caption: "cat" }, { path: join(cat, "9.webp"), caption: "cat" }],
      },
    ]);
    deepEqual(warnings, []);
  });
});

Deno.test("readDreamboothFolders() lists what it leaves out", async () => {
  const files = {
    "loose.png": "",
    "cats/a.png": "",
    "0_none/a.png": "",
    "3_empty/notes.md": "",
    "1_/a.png": "",
    "1_/b.gif": "",
    "1_/c.txt": "lost",
  };
  await withFiles(files, async (root) => {
    const { folders, warnings } = await readDreamboothFolders(root, "training", { captionWithoutImage: "warn" });
    deepEqual(folders.map(({ path }) => path), [join(root, "1_")]);
    deepEqual(warnings.map(({ kind, path }) => [kind, path]), [
      ["image_outside", join(root, "loose.png")],
      ["folder_without_repeats", join(root, "0_none")],
      ["empty_caption", join(root, "1_/a.png")],
      ["image_ignored", join(root, "1_/b.gif")],
      ["caption_without_image", join(root, "1_/c.txt")],
      ["empty_folder", join(root, "3_empty")],
      ["folder_without_repeats", join(root, "cats")],
    ]);
    for (const { path, message } of warnings) ok(message.includes(path.replace(/.loose.png$/, "")), message);
  });
});

async function message(root: string, path: string, what = "training"): Promise<string> {
  try {
    await readDreamboothFolders(join(root, path), what);
  } catch (error) {
    ok(error instanceof DataFolderError);
    return error.message.replaceAll(root, "ROOT");
  }
  throw new Error("read without an error");
}

Deno.test("readDreamboothFolders() says what is wrong with a folder", async () => {
  await withFiles({ "file.txt": "" }, async (root) => {
    equal(
      await message(root, "none", "regularization"),
      "Cannot read the regularization folder ROOT/none: there is no such folder",
    );
    equal(
      await message(root, "file.txt"),
      "Cannot read the training folder ROOT/file.txt: it is a file, not a folder",
    );
  });
  const wanted = "it must hold subfolders called N_name with the images in them, N being the repeats (10_sks dog)";
  await withFiles({ "cats/a.png": "", "dogs/a.png": "" }, async (root) => {
    equal(await message(root, "."), `Cannot use the training folder ROOT: its subfolders are cats, dogs; ${wanted}`);
  });
  await withFiles({ "a.png": "", "b.png": "" }, async (root) => {
    equal(await message(root, "."), `Cannot use the training folder ROOT: it has 2 images and no subfolder; ${wanted}`);
  });
  await withFiles({ "3_cat/a.txt.md": "" }, async (root) => {
    equal(
      await message(root, "."),
      "Cannot use the training folder ROOT: there are no images (.png .PNG .jpg .JPG .jpeg .JPEG .webp .WEBP .bmp " +
        ".BMP) in its 1 N_name subfolders",
    );
  });
  await withFiles({ "3_cat/a.png": "", "3_cat/b.txt": "lost" }, async (root) => {
    equal(
      await message(root, "."),
      "Cannot use the training folder ROOT/3_cat: ROOT/3_cat/b.txt is a caption without an image: no b with an " +
        "extension of .png .PNG .jpg .JPG .jpeg .JPEG .webp .WEBP .bmp .BMP beside it; add the image or remove it",
    );
  });
});

// Deno makes links only for programs that may write anywhere.
const mayLink = Deno.permissions.querySync({ name: "write" }).state === "granted";

Deno.test("readDreamboothFolders() follows links to folders and files", { ignore: !mayLink }, async () => {
  await withFiles({ "data/a.png": "", "elsewhere.png": "" }, async (root) => {
    await Deno.mkdir(join(root, "train"));
    await Deno.symlink(join(root, "data"), join(root, "train/4_cat"));
    await Deno.symlink(join(root, "elsewhere.png"), join(root, "data/b.png"));
    const { folders } = await readDreamboothFolders(join(root, "train"), "training");
    deepEqual(folders[0].images.map(({ path }) => path), [
      join(root, "train/4_cat/a.png"),
      join(root, "train/4_cat/b.png"),
    ]);
    await Deno.remove(join(root, "elsewhere.png"));
    equal(
      (await message(root, "train")).split(": ")[0],
      "Cannot follow the link ROOT/train/4_cat/b.png",
    );
  });
});

Deno.test("readDreamboothFolders() refuses an empty caption extension", async () => {
  await rejects(readDreamboothFolders("x", "training", { captionExtension: "" }), RangeError);
});
