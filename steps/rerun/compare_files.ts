import { readFile } from "node:fs/promises";
import { decodeFloat32 } from "../../formats/element_types.ts";
import { SafetensorsFile } from "../../formats/safetensors.ts";

/** How a file of a run compares with the same file of its repetition. */
export interface FileDifference {
  /** `times`: all that differs is when something was done, or follows from it. */
  readonly verdict: "times" | "differs";
  /** What differs, as half a sentence. */
  readonly what: string;
}

/** Metadata that say when a LoRA file was trained, and the hash over the metadata that say it. */
const timesOfLoras = ["ss_training_started_at", "ss_training_finished_at", "sshs_legacy_hash"];

/**
 * Members of JSON that say when or how long, or that are hashes or sizes of listed files, which are compared themselves: the times in a LoRA file's metadata are now a
 * digit longer, now shorter.
 */
const timesOfJson = /(^|\.)(created|seconds|sha256)$|(^|\.)files\.\d+\.bytes$/;

/** Most names that are told. */
const mostNames = 5;

/** Tells what differs in two files that are not bit-equal. */
export async function differenceOf(before: string, after: string): Promise<FileDifference> {
  if (before.endsWith(".safetensors")) return await tensorDifference(before, after);
  if (before.endsWith(".json")) return await jsonDifference(before, after);
  return { verdict: "differs", what: "its bytes differ" };
}

async function tensorDifference(before: string, after: string): Promise<FileDifference> {
  await using one = await SafetensorsFile.open(before);
  await using other = await SafetensorsFile.open(after);
  const names = new Set([...one.tensors.keys(), ...other.tensors.keys()]), differing: string[] = [];
  let largest = 0;
  for (const name of names) {
    const [a, b] = [one.tensors.get(name), other.tensors.get(name)];
    if (a?.type !== b?.type || String(a?.shape) !== String(b?.shape)) {
      differing.push(name);
      largest = NaN;
      continue;
    }
    const [x, y] = [await one.bytes(name), await other.bytes(name)];
    if (x.every((byte, at) => byte === y[at])) continue;
    differing.push(name);
    largest = Math.max(
      largest,
      /^(F|BF)/.test(a!.type) ? largestDistance(decodeFloat32(x, a!.type), decodeFloat32(y, a!.type)) : NaN,
    );
  }
  if (differing.length > 0) {
    const by = Number.isNaN(largest) ? "" : `, by ${largest.toExponential(1)} at most`;
    return { verdict: "differs", what: `${differing.length} of ${names.size} tensors differ${by}: ${some(differing)}` };
  }
  const keys = differingKeys(Object.fromEntries(one.metadata ?? []), Object.fromEntries(other.metadata ?? []));
  const others = keys.filter((key) => !timesOfLoras.includes(key));
  if (others.length > 0) {
    return { verdict: "differs", what: `all tensors are bit-equal, its metadata differ: ${some(others)}` };
  }
  return { verdict: "times", what: keys.length > 0 ? some(keys) : "the order of its metadata" };
}

function largestDistance(one: Float32Array, other: Float32Array): number {
  return one.reduce((largest, value, at) => Math.max(largest, Math.abs(value - other[at])), 0);
}

async function jsonDifference(before: string, after: string): Promise<FileDifference> {
  const [one, other] = await Promise.all([before, after].map(async (path) => JSON.parse(await readFile(path, "utf8"))));
  const keys = differingKeys(one, other), others = keys.filter((key) => !timesOfJson.test(key));
  return others.length > 0 ? { verdict: "differs", what: some(others) } : { verdict: "times", what: some(keys) };
}

/** Paths of the members in which two values of JSON differ. */
function differingKeys(one: unknown, other: unknown, path = ""): string[] {
  const isObject = (value: unknown) => typeof value === "object" && value !== null;
  if (!isObject(one) || !isObject(other) || Array.isArray(one) !== Array.isArray(other)) {
    return Object.is(one, other) ? [] : [path || "its content"];
  }
  const [a, b] = [one, other] as Record<string, unknown>[];
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((key) =>
    differingKeys(a[key], b[key], path === "" ? key : `${path}.${key}`)
  );
}

function some(names: readonly string[]): string {
  const shown = names.slice(0, mostNames).join(", ");
  return names.length > mostNames ? `${shown} and ${names.length - mostNames} more` : shown;
}
