/**
 * Fine-tuning metadata: a JSON file that gives a caption and tags for each picture (`--in_json`).
 *
 * @module
 */
import { stat } from "node:fs/promises";
import { join, parse } from "node:path";
import { readPlainFile } from "../formats/plain_file.ts";
import { JsonNumber, type JsonObject, type JsonValue, parseStrictJson } from "../formats/strict_json.ts";
import { isImageName, listFolder } from "./image_folder.ts";
import type { ImageSize } from "./resize.ts";

/** A picture that the metadata name. */
export interface MetadataImage {
  /** Of the picture, or of its latents. */
  readonly path: string;
  /** Set where there is no picture, only latents that sd-scripts made of it: the size in pixels that they stand for. */
  readonly latentsOf?: ImageSize;
  /** Caption and tags, joined by comma and blank; one alone; or empty. */
  readonly caption: string;
  /** Tags that are counted: those of pictures that have a caption as well. */
  readonly countedTags?: string;
  /** Size that was chosen for the picture when the metadata were made (`train_resolution`). */
  readonly bucket?: ImageSize;
}

/** Metadata that cannot be trained on. The message names the file and the entry. */
export class MetadataError extends Error {
  override readonly name = "MetadataError";

  constructor(readonly path: string, reason: string, options?: ErrorOptions) {
    super(`Cannot read the metadata ${path}: ${reason}`, options);
  }
}

async function parseFile(path: string): Promise<JsonObject> {
  let text: string, value: JsonValue;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await readPlainFile(path));
  } catch (error) {
    const reason = (error as { code?: string }).code === "ENOENT"
      ? "there is no such file"
      : error instanceof TypeError
      ? "it is not UTF-8 text"
      : (error as Error).message;
    throw new MetadataError(path, reason, { cause: error });
  }
  try {
    value = parseStrictJson(text);
  } catch (error) {
    throw new MetadataError(path, `it is no JSON (${(error as Error).message})`, { cause: error });
  }
  if (value instanceof Map) return value;
  throw new MetadataError(path, "it must be one object, with an entry for each picture");
}

function textOf(path: string, key: string, entry: JsonObject, name: string): string | null {
  const value = entry.get(name) ?? null;
  if (value === null || typeof value === "string") return value;
  throw new MetadataError(path, `${name} of ${JSON.stringify(key)} must be text`);
}

function bucketOf(path: string, key: string, entry: JsonObject): ImageSize | undefined {
  const value = entry.get("train_resolution") ?? null;
  if (value === null) return undefined;
  const sides = Array.isArray(value) ? value.map((side) => side instanceof JsonNumber ? side.asCount() : null) : [];
  const [width, height] = sides;
  if (sides.length === 2 && width && height) return { width, height };
  throw new MetadataError(path, `train_resolution of ${JSON.stringify(key)} must be width and height in pixels`);
}

/** A file that stands for a key. */
interface FoundFile {
  readonly path: string;
  /** Whether it holds latents; then the size of their picture, if the name tells it. */
  readonly latents?: { readonly size: ImageSize | null };
}

/** Latents as sd-scripts' later releases name them: the picture's name, its size, `_sd`. */
const sizedLatents = /^(.+)_(\d+)x(\d+)_sd\.npz$/u;

function isFile(path: string): Promise<boolean> {
  return stat(path).then((found) => found.isFile(), () => false);
}

/** Finds the picture of a key: a path that is there, or a name in the folder, with its extension or without; else its latents. */
async function pictureFinder(path: string, folder: string | undefined) {
  const names = folder === undefined ? [] : (await listFolder(folder, "training")).files;
  const images = new Map<string, string>(), latents = new Map<string, FoundFile>();
  for (const name of names.filter(isImageName)) {
    images.set(name, name);
    // Of several pictures with one name the first by code point serves.
    if (!images.has(parse(name).name)) images.set(parse(name).name, name);
  }
  for (const name of names.filter((name) => name.endsWith(".npz"))) {
    const [, key, width, height] = sizedLatents.exec(name) ?? [];
    const file = (size: ImageSize | null) => ({ path: join(folder!, name), latents: { size } });
    latents.set(parse(name).name, file(null));
    if (key !== undefined && !latents.has(key)) {
      latents.set(key, file({ width: Number(width), height: Number(height) }));
    }
  }
  return async (key: string): Promise<FoundFile> => {
    const inFolder = images.get(key);
    if (inFolder !== undefined) return { path: join(folder!, inFolder) };
    if (isImageName(parse(key).base) && await isFile(key)) return { path: key };
    const { dir, name } = parse(key), beside = join(dir, `${name}.npz`);
    if (dir !== "" && await isFile(beside)) return { path: beside, latents: { size: null } };
    const found = latents.get(key) ?? latents.get(name);
    if (found !== undefined) return found;
    const where = folder === undefined
      ? "no image_dir is given"
      : `${folder} has no picture of that name, and no latents`;
    throw new MetadataError(path, `there is no picture ${JSON.stringify(key)}: ${where}`);
  };
}

/**
 * Reads metadata, in the order of the file.
 *
 * @param folder Where the pictures are that are named without a path.
 * @throws {MetadataError} If the file is missing or is not what it should be, or names a picture that is not there.
 */
export async function readMetadataFile(path: string, folder?: string): Promise<MetadataImage[]> {
  const entries = await parseFile(path), find = await pictureFinder(path, folder), images: MetadataImage[] = [];
  for (const [key, entry] of entries) {
    if (!(entry instanceof Map)) throw new MetadataError(path, `the entry ${JSON.stringify(key)} must be an object`);
    const caption = textOf(path, key, entry, "caption"), tags = textOf(path, key, entry, "tags");
    const bucket = bucketOf(path, key, entry), hasBoth = caption !== null && tags !== null && tags !== "";
    const found = await find(key), latentsOf = found.latents && (bucket ?? found.latents.size);
    if (latentsOf === null) {
      throw new MetadataError(
        path,
        `${
          JSON.stringify(key)
        } has latents alone, ${found.path}, and no train_resolution: give the size in pixels that they ` +
          "were made at, or the picture",
      );
    }
    images.push({
      path: found.path,
      ...(latentsOf ? { latentsOf } : {}),
      caption: hasBoth ? `${caption}, ${tags}` : caption ?? tags ?? "",
      ...(hasBoth ? { countedTags: tags } : {}),
      ...(bucket ? { bucket } : {}),
    });
  }
  return images;
}
