/**
 * Fine-tuning metadata: a JSON file that gives a caption and tags for each picture (`--in_json`).
 *
 * @module
 */
import { readFile, stat } from "node:fs/promises";
import { join, parse } from "node:path";
import { JsonNumber, type JsonObject, type JsonValue, parseStrictJson } from "../formats/strict_json.ts";
import { isImageName, listFolder } from "./image_folder.ts";
import type { ImageSize } from "./resize.ts";

/** A picture that the metadata name. */
export interface MetadataImage {
  readonly path: string;
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
    text = new TextDecoder("utf-8", { fatal: true }).decode(await readFile(path));
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

/** Finds the picture of a key: a path that is there, or a name in the folder, with its extension or without. */
async function pictureFinder(path: string, folder: string | undefined) {
  const names = folder === undefined ? [] : (await listFolder(folder, "training")).files;
  const images = new Map<string, string>(), latents = new Set<string>();
  for (const name of names.filter(isImageName)) {
    images.set(name, name);
    // Of several pictures with one name the first by code point serves.
    if (!images.has(parse(name).name)) images.set(parse(name).name, name);
  }
  for (const name of names) if (name.endsWith(".npz")) latents.add(parse(name).name);
  return async (key: string): Promise<string> => {
    const inFolder = images.get(key);
    if (inFolder !== undefined) return join(folder!, inFolder);
    const isFile = isImageName(parse(key).base) && await stat(key).then((found) => found.isFile(), () => false);
    if (isFile) return key;
    const where = folder === undefined ? "no image_dir is given" : `${folder} has no picture of that name`;
    const hint = latents.has(key) ? "; its latents in .npz are not read, put the picture beside them" : "";
    throw new MetadataError(path, `there is no picture ${JSON.stringify(key)}: ${where}${hint}`);
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
    images.push({
      path: await find(key),
      caption: hasBoth ? `${caption}, ${tags}` : caption ?? tags ?? "",
      ...(hasBoth ? { countedTags: tags } : {}),
      ...(bucket ? { bucket } : {}),
    });
  }
  return images;
}
