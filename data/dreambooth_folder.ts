/**
 * DreamBooth folders: `10_sks dog` is 10 repeats of the pictures in it, with the class tokens "sks dog".
 *
 * @module
 */
import { readdir, stat } from "node:fs/promises";
import { extname, join, parse } from "node:path";
import { compareCodePoints } from "../formats/text_order.ts";
import { captionExtensions, captionNames, readCaption, stripText } from "./caption.ts";

/** A picture of a training or regularization folder. */
export interface FolderImage {
  /** Path of the picture file. */
  readonly path: string;
  /** Its caption: the first line of its caption file, or the folder's class tokens. */
  readonly caption: string;
  /** The file the caption came from; absent when it is the class tokens. */
  readonly captionFile?: string;
}

/** One `N_name` folder. */
export interface DreamboothFolder {
  readonly path: string;
  /** How often each picture is shown in an epoch; at least 1. */
  readonly repeats: number;
  /** What stands after the number: the caption of pictures without a caption file. */
  readonly classTokens: string;
  /** In order of their names by code point. */
  readonly images: readonly FolderImage[];
}

/** Something in a folder that training goes on without. */
export interface FolderWarning {
  /**
   * - `folder_without_repeats`: a subfolder whose name is no `N_name`, or with N below 1
   * - `empty_folder`: an `N_name` folder without pictures
   * - `image_ignored`: a file that looks like a picture but has no extension that is read
   * - `image_outside`: pictures beside the `N_name` folders instead of in them
   * - `caption_without_image`: a caption file whose picture is not there
   * - `empty_caption`: a picture with neither caption nor class tokens
   */
  readonly kind:
    | "folder_without_repeats"
    | "empty_folder"
    | "image_ignored"
    | "image_outside"
    | "caption_without_image"
    | "empty_caption";
  readonly path: string;
  /** The same as a sentence that names the path. */
  readonly message: string;
}

/** All `N_name` folders of a data folder, in order of their names. */
export interface DreamboothFolders {
  readonly folders: readonly DreamboothFolder[];
  readonly warnings: readonly FolderWarning[];
}

/** Options of {@linkcode readDreamboothFolders}. */
export interface DreamboothOptions {
  /** Extension of caption files. Unset: `.caption`, and where there is none, `.txt`. */
  readonly captionExtension?: string;
  /** What to do about a caption file whose picture is missing: "error" (the default) or "warn". */
  readonly captionWithoutImage?: "error" | "warn";
}

/** A data folder that cannot be trained on. The message names the folder and says what to do. */
export class DataFolderError extends Error {
  override readonly name = "DataFolderError";

  constructor(readonly path: string, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** Extensions of picture files, in the two spellings that sd-scripts looks for. */
const imageExtensions = [".png", ".jpg", ".jpeg", ".webp", ".bmp"].flatMap((end) => [end, end.toUpperCase()]);
const pictureLike = /\.(png|jpe?g|webp|bmp|gif|tiff?|avif|heic|jxl)$/iu;

/** Whether a file name is that of a picture that is read. Names that begin with a dot are not. */
export function isImageName(name: string): boolean {
  return !name.startsWith(".") && imageExtensions.includes(extname(name));
}

/** Value of a decimal digit of any script: Unicode keeps the ten of a script together, with zero first. */
function digitValue(digit: string): number {
  let before = 0;
  while (/^\p{Nd}$/u.test(String.fromCodePoint(digit.codePointAt(0)! - before - 1))) before++;
  return before % 10;
}

/**
 * Repeats and class tokens from a folder's name, with Python's `int` for the number: blanks around it, a sign and
 * digits of any script count.
 *
 * @returns `undefined` if the name is no `N_name` or N is below 1: such folders are left out.
 * @example
 * ```ts
 * import { deepEqual, equal } from "node:assert/strict";
 * deepEqual(parseFolderName("10_sks dog"), { repeats: 10, classTokens: "sks dog" });
 * equal(parseFolderName("sks dog"), undefined);
 * ```
 */
export function parseFolderName(name: string): { repeats: number; classTokens: string } | undefined {
  const [first, ...rest] = name.split("_");
  const number = /^([+-]?)(\p{Nd}+)$/u.exec(stripText(first));
  if (number === null) return undefined;
  const size = Number([...number[2]].map(digitValue).join(""));
  const repeats = number[1] === "-" ? -size : size;
  return repeats < 1 ? undefined : { repeats, classTokens: rest.join("_") };
}

interface FolderContent {
  readonly files: readonly string[];
  readonly folders: readonly string[];
}

async function followLink(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new DataFolderError(path, `Cannot follow the link ${path}: ${reason}`, { cause: error });
  }
}

async function listFolder(path: string, flag: string): Promise<FolderContent> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    entries.sort((a, b) => compareCodePoints(a.name, b.name));
    const content = { files: [] as string[], folders: [] as string[] };
    for (const entry of entries) {
      // A link counts as what it leads to, so that folders can be put together from links.
      const target = entry.isSymbolicLink() ? await followLink(join(path, entry.name)) : entry;
      (target.isDirectory() ? content.folders : content.files).push(entry.name);
    }
    return content;
  } catch (error) {
    if (error instanceof DataFolderError) throw error;
    const code = (error as { code?: string }).code;
    const reason = code === "ENOENT"
      ? "there is no such folder"
      : code === "ENOTDIR"
      ? "it is a file, not a folder"
      : error instanceof Error
      ? error.message
      : String(error);
    throw new DataFolderError(path, `Cannot read the ${flag} folder ${path}: ${reason}`, { cause: error });
  }
}

/** Reads the pictures and captions of one folder. */
async function readFolder(
  path: string,
  name: { repeats: number; classTokens: string },
  what: string,
  options: DreamboothOptions,
  warnings: FolderWarning[],
): Promise<DreamboothFolder> {
  const { files } = await listFolder(path, what);
  const present = new Set(files);
  const usedCaptions = new Set<string>();
  const images: FolderImage[] = [];
  for (const file of files) {
    if (!isImageName(file)) {
      if (pictureLike.test(file) && !file.startsWith(".")) {
        const message = `${join(path, file)} is not read: its extension is none of ${imageExtensions.join(" ")}`;
        warnings.push({ kind: "image_ignored", path: join(path, file), message });
      }
      continue;
    }
    const candidates = captionNames(file, options.captionExtension).filter((candidate) => present.has(candidate));
    for (const candidate of candidates) usedCaptions.add(candidate);
    const imagePath = join(path, file);
    if (candidates.length > 0) {
      const captionFile = join(path, candidates[0]);
      images.push({ path: imagePath, caption: await readCaption(captionFile), captionFile });
      continue;
    }
    images.push({ path: imagePath, caption: name.classTokens });
    if (name.classTokens === "") {
      const message = `${imagePath} has an empty caption: no caption file, and no class tokens in the folder's name`;
      warnings.push({ kind: "empty_caption", path: imagePath, message });
    }
  }
  const extensions = options.captionExtension === undefined ? captionExtensions : [options.captionExtension];
  const orphans = files.filter((file) =>
    extensions.some((end) => file.endsWith(end)) && !isImageName(file) && !usedCaptions.has(file)
  );
  for (const file of orphans) {
    const orphan = join(path, file);
    const message = `${orphan} is a caption without an image: no ${parse(file).name} with an extension of ` +
      `${imageExtensions.join(" ")} beside it`;
    if (options.captionWithoutImage !== "warn") {
      throw new DataFolderError(
        orphan,
        `Cannot use the ${what} folder ${path}: ${message}; add the image or remove it`,
      );
    }
    warnings.push({ kind: "caption_without_image", path: orphan, message });
  }
  return { path, ...name, images };
}

/**
 * Reads a data folder: all its `N_name` subfolders with their pictures' paths and captions. Pictures are not opened.
 *
 * @param path The folder that `--train_data_dir` or `--reg_data_dir` names.
 * @param what What the folder is, for messages: "training", "regularization".
 * @returns Folders with pictures, by name in code-point order, and warnings about what is left out.
 * @throws {DataFolderError} If the folder is missing, has no `N_name` subfolder, has no picture, or (by default) holds
 * a caption whose picture is missing.
 * @throws {CaptionError} If a caption file is empty or is no UTF-8.
 * @throws {RangeError} If the caption extension is empty.
 */
export async function readDreamboothFolders(
  path: string,
  what: string,
  options: DreamboothOptions = {},
): Promise<DreamboothFolders> {
  if (options.captionExtension === "") {
    throw new RangeError(`Cannot read the ${what} folder ${path}: captionExtension is empty, must be like ".txt"`);
  }
  const content = await listFolder(path, what);
  const warnings: FolderWarning[] = [];
  const folders: DreamboothFolder[] = [];
  const outside = content.files.filter(isImageName);
  if (outside.length > 0) {
    const message = `${outside.length} images lie directly in ${path} and are not read, such as ${outside[0]}: ` +
      `move them into a subfolder called N_name`;
    warnings.push({ kind: "image_outside", path: join(path, outside[0]), message });
  }
  let named = 0;
  for (const folder of content.folders) {
    const folderPath = join(path, folder);
    const name = parseFolderName(folder);
    if (name === undefined) {
      const message = `${folderPath} is left out: its name is not N_name with N repeats, N at least 1 (10_sks dog)`;
      warnings.push({ kind: "folder_without_repeats", path: folderPath, message });
      continue;
    }
    named++;
    const read = await readFolder(folderPath, name, what, options, warnings);
    if (read.images.length > 0) folders.push(read);
    else warnings.push({ kind: "empty_folder", path: folderPath, message: `${folderPath} has no images` });
  }
  if (named === 0) {
    const found = content.folders.length > 0
      ? `its subfolders are ${content.folders.slice(0, 5).join(", ")}`
      : outside.length > 0
      ? `it has ${outside.length} images and no subfolder`
      : "it has no subfolder";
    throw new DataFolderError(
      path,
      `Cannot use the ${what} folder ${path}: ${found}; it must hold subfolders called N_name with the images in ` +
        `them, N being the repeats (10_sks dog)`,
    );
  }
  if (folders.length === 0) {
    throw new DataFolderError(
      path,
      `Cannot use the ${what} folder ${path}: there are no images (${imageExtensions.slice(0, 10).join(" ")}) in its ` +
        `${named} N_name subfolders`,
    );
  }
  return { folders, warnings };
}
