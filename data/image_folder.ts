/**
 * A folder of pictures with their caption files.
 *
 * @module
 */
import { readdir, stat } from "node:fs/promises";
import { extname, join, parse } from "node:path";
import { SpecialFileError, statPlainFile } from "../formats/plain_file.ts";
import { compareCodePoints } from "../formats/text_order.ts";
import { captionExtensions, captionNames, readCaption } from "./caption.ts";

/** A picture of a folder. */
export interface FolderImage {
  /** Path of the picture file. */
  readonly path: string;
  /** Its caption: the first line of its caption file, or the class tokens. */
  readonly caption: string;
  /** The file the caption came from; absent when it is the class tokens. */
  readonly captionFile?: string;
}

/** Something in a folder that training goes on without. */
export interface FolderWarning {
  /**
   * - `folder_without_repeats`: a subfolder whose name is no `N_name`, or with N below 1
   * - `empty_folder`: a folder without pictures
   * - `image_ignored`: a file that looks like a picture but has no extension that is read
   * - `image_outside`: pictures beside the `N_name` folders instead of in them
   * - `caption_without_image`: a caption file whose picture is not there
   * - `caption_ignored`: caption files with another extension than the one that was asked for
   * - `latents_ignored`: latents that sd-scripts made of the pictures
   * - `empty_caption`: a picture with neither caption nor class tokens
   */
  readonly kind:
    | "folder_without_repeats"
    | "empty_folder"
    | "image_ignored"
    | "image_outside"
    | "caption_without_image"
    | "caption_ignored"
    | "latents_ignored"
    | "empty_caption";
  readonly path: string;
  /** The same as a sentence that names the path. */
  readonly message: string;
}

/** How captions are found. */
export interface CaptionFileOptions {
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
export const imageExtensions: readonly string[] = [".png", ".jpg", ".jpeg", ".webp", ".bmp"].flatMap((end) => [
  end,
  end.toUpperCase(),
]);
const pictureLike = /\.(png|jpe?g|webp|bmp|gif|tiff?|avif|heic|jxl)$/iu;

/** Whether a file name is that of a picture that is read. Names that begin with a dot are not. */
export function isImageName(name: string): boolean {
  return !name.startsWith(".") && imageExtensions.includes(extname(name));
}

async function followLink(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new DataFolderError(path, `Cannot follow the link ${path}: ${reason}`, { cause: error });
  }
}

/**
 * Names of the files and folders in a folder, each by code point; a link counts as what it leads to.
 *
 * @param what What the folder is, for the error: "training", "regularization".
 * @throws {DataFolderError} If the folder cannot be read or a link leads nowhere.
 */
export async function listFolder(path: string, what: string): Promise<{ files: string[]; folders: string[] }> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    entries.sort((a, b) => compareCodePoints(a.name, b.name));
    const content = { files: [] as string[], folders: [] as string[] };
    for (const entry of entries) {
      const target = entry.isSymbolicLink() ? await followLink(join(path, entry.name)) : entry;
      // Hidden ones are never opened.
      if (!target.isDirectory() && !target.isFile() && !entry.name.startsWith(".")) {
        await statPlainFile(join(path, entry.name));
      }
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
      : error instanceof SpecialFileError
      ? `${error.path} in it is a ${error.kind}; take it away`
      : error instanceof Error
      ? error.message
      : String(error);
    throw new DataFolderError(path, `Cannot read the ${what} folder ${path}: ${reason}`, { cause: error });
  }
}

/**
 * Reads a folder's pictures' paths and captions. Pictures are not opened.
 *
 * @param classTokens Caption of pictures without a caption file.
 * @param what What the folder is, for messages: "training", "regularization".
 * @param warnings Gets what is left out.
 * @returns In order of the names by code point.
 * @throws {DataFolderError} If the folder cannot be read, or (by default) holds a caption whose picture is missing.
 * @throws {CaptionError} If a caption file is empty or is no UTF-8.
 * @throws {RangeError} If the caption extension is empty.
 */
export async function readImageFolder(
  path: string,
  classTokens: string,
  what: string,
  options: CaptionFileOptions,
  warnings: FolderWarning[],
): Promise<FolderImage[]> {
  checkExtension(path, what, options);
  const { files } = await listFolder(path, what);
  const present = new Set(files), usedCaptions = new Set<string>(), images: FolderImage[] = [];
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
    images.push({ path: imagePath, caption: classTokens });
    if (classTokens === "") {
      const message = `${imagePath} has an empty caption: no caption file, and no class tokens`;
      warnings.push({ kind: "empty_caption", path: imagePath, message });
    }
  }
  const ignored = ignoredCaptions(images, present, options), told = new Set(ignored.flatMap(({ files }) => files));
  for (const { extension, files } of ignored) warnings.push(captionsIgnored(path, extension, files, options));
  warnings.push(...ignoredLatents(path, images, files));
  const extensions = options.captionExtension === undefined ? captionExtensions : [options.captionExtension];
  const orphans = files.filter((file) =>
    extensions.some((end) => file.endsWith(end)) && !isImageName(file) && !usedCaptions.has(file) && !told.has(file)
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
  return images;
}

/**
 * Checks the caption extension.
 *
 * @throws {RangeError} If it is empty.
 */
export function checkExtension(path: string, what: string, { captionExtension }: CaptionFileOptions): void {
  if (captionExtension !== "") return;
  throw new RangeError(`Cannot read the ${what} folder ${path}: captionExtension is empty, must be like ".txt"`);
}

/** Caption files that lie beside pictures but have not the extension that was asked for, by the extension that they have. */
function ignoredCaptions(
  images: readonly FolderImage[],
  present: ReadonlySet<string>,
  { captionExtension }: CaptionFileOptions,
): { extension: string; files: string[] }[] {
  if (captionExtension === undefined) return [];
  const without = images.filter(({ captionFile }) => captionFile === undefined);
  return captionExtensions.filter((end) => end !== captionExtension).map((extension) => ({
    extension,
    files: without.flatMap((image) => captionNames(parse(image.path).base, extension)).filter((name) =>
      present.has(name)
    ),
  })).filter(({ files }) => files.length > 0);
}

/** The usual reason why nothing of the captions is learned. */
function captionsIgnored(
  path: string,
  extension: string,
  files: readonly string[],
  { captionExtension }: CaptionFileOptions,
): FolderWarning {
  const message =
    `${files.length} caption files ${extension} in ${path} are not read, such as ${files[0]}: the caption ` +
    `extension is ${captionExtension}${
      extension === `.${captionExtension}` ? `, without the dot: did you mean ${extension}?` : ""
    }`;
  return { kind: "caption_ignored", path, message };
}

/** Latents beside their pictures: such a file does not tell which picture and which VAE it was made of, so the pictures are encoded. */
function ignoredLatents(path: string, images: readonly FolderImage[], files: readonly string[]): FolderWarning[] {
  const latents = files.filter((file) => file.endsWith(".npz"));
  if (latents.length === 0) return [];
  const stems = new Set(images.map((image) => parse(image.path).name));
  // Those of the mirrored picture, and later releases' with the size.
  const stemOf = (file: string) => parse(file).name.replace(/_flip$|_\d+x\d+_sd$/, "");
  const beside = latents.filter((file) => stems.has(stemOf(file)) || stems.has(parse(file).name));
  if (beside.length === 0) return [];
  const message =
    `${beside.length} files of latents in ${path} are not used, such as ${beside[0]}: the pictures beside ` +
    "them are encoded, since such a file does not tell of which picture and VAE it is";
  return [{ kind: "latents_ignored", path, message }];
}
