import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { Checkpoint } from "../../models/checkpoint/checkpoint.ts";
import type { PartFiles } from "../../models/checkpoint/part_files.ts";
import { type DiskUse, hashJson } from "../../pipeline/mod.ts";
import { hashLargeFile } from "./file_hashes.ts";

/**
 * Plain JSON data that is equal for checkpoints of equal content: configurations, and hashes of all files that are read. What is on
 * the hub stands there by its commit, so nothing is fetched.
 */
export async function contentOf(checkpoint: Checkpoint): Promise<Record<string, unknown>> {
  const { scheduler, tokenizer } = checkpoint, parts: unknown[] = [];
  for (const part of partsOf(checkpoint)) {
    const files = part.revision === null ? await hashesOf(await part.weightFiles()) : part.revision;
    parts.push({ part: part.part, config: part.config.json, files });
  }
  let tokens: unknown = null;
  if (tokenizer) {
    const { folder, files } = tokenizer;
    tokens = folder.revision ?? await hashesOf(await Promise.all(files.map((each) => folder.path(each))));
  }
  return { parts, scheduler: scheduler && scheduler.json, tokenizer: tokens };
}

/** Whether two checkpoints have the same content, so that one does for both. Files are hashed only if their sizes are equal. */
export async function haveSameContent(one: Checkpoint, two: Checkpoint): Promise<boolean> {
  const [sizes1, sizes2] = await Promise.all([sizesOf(one), sizesOf(two)]);
  return sizes1 === sizes2 && hashJson(await contentOf(one)) === hashJson(await contentOf(two));
}

/** What loading checkpoints writes into the cache of models from the hub: weights that are not there yet, each once. */
export async function downloadsOf(checkpoints: readonly Checkpoint[]): Promise<DiskUse[]> {
  const sizes = new Map<string, number>();
  for (const part of checkpoints.flatMap(partsOf)) {
    for (const { path, sizeBytes } of await part.downloads()) sizes.set(path, sizeBytes);
  }
  const folders = Map.groupBy(sizes, ([path]) => dirname(path));
  return [...folders].map(([folder, files]) => ({
    what: "weights from the hub",
    folder,
    sizeBytes: files.reduce((sum, [, sizeBytes]) => sum + sizeBytes, 0),
  }));
}

function partsOf({ textEncoder, unet, vae }: Checkpoint): PartFiles[] {
  return [textEncoder, unet, vae].filter((part) => part !== null);
}

async function hashesOf(files: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const file of files) found.push(await hashLargeFile(file));
  return found;
}

async function sizesOf(checkpoint: Checkpoint): Promise<string> {
  const parts = partsOf(checkpoint).map(async ({ revision, weightFiles }) => {
    if (revision !== null) return revision;
    return (await Promise.all((await weightFiles()).map((file) => stat(file)))).map(({ size }) => size).join("+");
  });
  return (await Promise.all(parts)).join();
}
