import { deepEqual, equal, rejects } from "node:assert/strict";
import { join } from "node:path";
import { compareCodePoints } from "../formats/text_order.ts";
import { CaptionError } from "./caption.ts";
import {
  type CaptionFileOptions,
  DataFolderError,
  type FolderImage,
  type FolderWarning,
  isImageName,
  readImageFolder,
} from "./image_folder.ts";
import { withFiles } from "./_test_files.ts";
import { makeLink } from "../tests/make_link.ts";

const goldens = JSON.parse(await Deno.readTextFile(join(import.meta.dirname!, "../tests/golden/files/captions.json")));

/** Reads a folder, with its name in the place of the part of all paths that differs from run to run. */
async function read(
  root: string,
  classTokens: string,
  options: CaptionFileOptions = {},
): Promise<{ images: FolderImage[]; warnings: FolderWarning[] }> {
  const warnings: FolderWarning[] = [];
  return { images: await readImageFolder(root, classTokens, "training", options, warnings), warnings };
}

Deno.test("isImageName() and the sorting find the images that sd-scripts finds", () => {
  const found = goldens.images.names.filter(isImageName).sort(compareCodePoints);
  // sd-scripts takes a folder called folder.png for an image; here only files are asked about.
  deepEqual(found, goldens.images.found.filter((name: string) => name !== "folder.png"));
});

Deno.test("readImageFolder() gives the captions that sd-scripts gives", async () => {
  let compared = 0;
  for (const { files, image, caption_extension, class_tokens, caption, error } of goldens.files.cases) {
    await withFiles({ ...files, [image]: "" }, async (root) => {
      const options = { captionExtension: caption_extension, captionWithoutImage: "warn" as const };
      const reading = read(root, class_tokens ?? "", options);
      if (error !== undefined) await rejects(reading, CaptionError);
      else equal((await reading).images[0].caption, caption, JSON.stringify(files));
    });
    compared++;
  }
  equal(compared, 36);
});

Deno.test("readImageFolder() reads images in order, with .caption or .txt", async () => {
  const files = { "b.png": "", "a.jpg": "", "a.txt": "text", "a.caption": "caption", "b.txt": "b text\nmore" };
  await withFiles({ ...files, "10.webp": "", "9.webp": "" }, async (root) => {
    const { images, warnings } = await read(root, "sks dog");
    deepEqual(images, [
      { path: join(root, "10.webp"), caption: "sks dog" },
      { path: join(root, "9.webp"), caption: "sks dog" },
      { path: join(root, "a.jpg"), caption: "caption", captionFile: join(root, "a.caption") },
      { path: join(root, "b.png"), caption: "b text", captionFile: join(root, "b.txt") },
    ]);
    deepEqual(warnings, []);
  });
});

Deno.test("readImageFolder() lists what it leaves out", async () => {
  await withFiles({ "a.png": "", "b.gif": "", "c.txt": "lost" }, async (root) => {
    const { warnings } = await read(root, "", { captionWithoutImage: "warn" });
    deepEqual(warnings.map(({ kind, path }) => [kind, path]), [
      ["empty_caption", join(root, "a.png")],
      ["image_ignored", join(root, "b.gif")],
      ["caption_without_image", join(root, "c.txt")],
    ]);
    for (const { path, message } of warnings) equal(message.includes(path), true, message);
  });
});

Deno.test("readImageFolder() warns of captions with another extension than the one asked for", async () => {
  await withFiles({ "a.png": "", "a.txt": "a cat", "b.png": "", "b.txt": "b", "c.png": "" }, async (root) => {
    const { images, warnings } = await read(root, "cat", { captionExtension: ".caption" });
    deepEqual(images.map(({ caption }) => caption), ["cat", "cat", "cat"]);
    deepEqual(warnings, [{
      kind: "caption_ignored",
      path: root,
      message: `2 caption files .txt in ${root} are not read, such as a.txt: the caption extension is .caption`,
    }]);
    deepEqual((await read(root, "cat", { captionExtension: ".txt" })).warnings, []);
  });
});

Deno.test("readImageFolder() tells once that an extension lacks its dot, and calls no file beside its picture lost", async () => {
  await withFiles({ "a.png": "", "a.txt": "a cat", "b.png": "", "b.txt": "b" }, async (root) => {
    deepEqual((await read(root, "cat", { captionExtension: "txt" })).warnings.map(({ message }) => message), [
      `2 caption files .txt in ${root} are not read, such as a.txt: the caption extension is txt, without the dot: ` +
      "did you mean .txt?",
    ]);
  });
});

Deno.test("readImageFolder() says that latents beside pictures are not used, and nothing of other files of NumPy's", async () => {
  const files = {
    "a.png": "",
    "a.npz": "",
    "a_flip.npz": "",
    "b_c.png": "",
    "b_c_0512x0768_sd.npz": "",
    "other.npz": "",
  };
  await withFiles(files, async (root) => {
    deepEqual((await read(root, "cat")).warnings, [{
      kind: "latents_ignored",
      path: root,
      message:
        `3 files of latents in ${root} are not used, such as a.npz: the pictures beside them are encoded, since such ` +
        "a file does not tell of which picture and VAE it is",
    }]);
    await Deno.remove(join(root, "a.npz"));
    await Deno.remove(join(root, "a_flip.npz"));
    await Deno.remove(join(root, "b_c_0512x0768_sd.npz"));
    deepEqual((await read(root, "cat")).warnings, []);
  });
});

Deno.test("readImageFolder() refuses a caption without an image unless told to warn", async () => {
  await withFiles({ "a.png": "", "b.txt": "lost" }, async (root) => {
    await rejects(read(root, "cat"), {
      name: "DataFolderError",
      message: `Cannot use the training folder ${root}: ${join(root, "b.txt")} is a caption without an image: no b ` +
        "with an extension of .png .PNG .jpg .JPG .jpeg .JPEG .webp .WEBP .bmp .BMP beside it; add the image or " +
        "remove it",
    });
  });
});

Deno.test("readImageFolder() refuses folders that are none, and an empty caption extension", async () => {
  await withFiles({ "file.txt": "" }, async (root) => {
    const message = async (name: string) => {
      const error = await read(join(root, name), "").then(() => null, (error) => error);
      return error instanceof DataFolderError ? error.message.replaceAll(root, "ROOT") : error;
    };
    equal(await message("none"), "Cannot read the training folder ROOT/none: there is no such folder");
    equal(await message("file.txt"), "Cannot read the training folder ROOT/file.txt: it is a file, not a folder");
  });
  await rejects(read("x", "", { captionExtension: "" }), RangeError);
});

Deno.test("readImageFolder() follows links to files", async () => {
  await withFiles({ "data/a.png": "", "elsewhere.png": "" }, async (root) => {
    await makeLink(join(root, "elsewhere.png"), join(root, "data/b.png"));
    const paths = async () => (await read(join(root, "data"), "cat")).images.map(({ path }) => path);
    deepEqual(await paths(), [join(root, "data/a.png"), join(root, "data/b.png")]);
    await Deno.remove(join(root, "elsewhere.png"));
    await rejects(paths, new RegExp(`^DataFolderError: Cannot follow the link ${join(root, "data/b.png")}: `));
  });
});
