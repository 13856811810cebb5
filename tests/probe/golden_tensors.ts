import { equal, ok } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { Device } from "../../engine/mod.ts";
import { uniformByRule } from "../../formats/weights_by_rule.ts";
import type { ProbeRequest } from "../../tools/probe/context.ts";
import { readTensorSet, type TensorSet } from "../../tools/probe/tensors.ts";

const folder = fileURLToPath(new URL("../golden/", import.meta.url));

/** True: every golden is checked, also those that only repeat others' ways through the code. Takes minutes more. */
export const allGoldens = (Deno.env.get("DUALORA_ALL_GOLDENS") ?? "") !== "";

/** A golden's tensors: `training/dual_step/inputs`. */
export function goldenTensors(name: string): Promise<TensorSet> {
  return readTensorSet(`${folder}${name}.safetensors`);
}

/** A golden's JSON. */
// deno-lint-ignore no-explicit-any
export async function goldenJson(name: string): Promise<any> {
  return JSON.parse(await readFile(`${folder}${name}.json`, "utf8"));
}

/** The path of a golden. */
export function goldenPath(name: string): string {
  return folder + name;
}

let device: Promise<Device> | null = null;

/** One device for all tests of a file, so that they compile each kernel once. It ends with the process. */
export function sharedDevice(): Promise<Device> {
  return device ??= Device.open();
}

/** What asks a part of the probe for the tiny models of `training/tiny`. */
export async function tinyRequest(): Promise<Omit<ProbeRequest, "input" | "options">> {
  return { device: await sharedDevice(), folder: goldenPath("training/tiny"), salt: 0, precision: "f32" };
}

/** Relative error ‖a − b‖₂ / ‖b‖₂; infinite where the lengths differ. */
export function relativeError(found: ArrayLike<number>, wanted: ArrayLike<number>): number {
  if (found.length !== wanted.length) return Infinity;
  let difference = 0, size = 0;
  for (let i = 0; i < wanted.length; i++) {
    difference += (found[i] - wanted[i]) ** 2;
    size += wanted[i] ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / size);
}

/** Throws unless a tensor is within the tolerance of another, and has its shape. */
export function closeTensor(found: TensorSet, name: string, wanted: TensorSet, wantedName: string, limit: number) {
  const tensor = found.get(name), golden = wanted.get(wantedName)!;
  ok(tensor, `${name} is missing`);
  equal(tensor.shape.join(), golden.shape.join(), `shape of ${name}`);
  const error = relativeError(tensor.data, golden.data);
  ok(error <= limit, `${name}: relative error ${error}, limit ${limit}`);
}

/** Throws unless figures are within the tolerance of a golden's JSON, each relative to itself. */
export function closeFigures(
  found: TensorSet,
  prefix: string,
  wanted: Readonly<Record<string, number | readonly number[]>>,
  limit: number,
): void {
  for (const [name, value] of Object.entries(wanted)) {
    const tensor = found.get(prefix + name);
    ok(tensor, `${prefix}${name} is missing`);
    const error = relativeError(tensor.data, [value].flat());
    ok(error <= limit, `${prefix}${name} is [${tensor.data.join(", ")}], wanted ${value}, limit ${limit}`);
  }
}

/** Tolerances of fingerprints: of norms, and of dot products as a part of the tensor's norm. */
export interface FingerprintLimits {
  readonly norm: number;
  readonly dot: number;
}

/**
 * Throws unless tensors have a golden's fingerprints `[tensor, 2]`: ‖v‖₂, and v · r with r = √3 · uniform("fingerprint." + name), summed in f64.
 * Tensors that are 0 but for rounding (their norm a millionth of the largest) need only be as small.
 */
export function closeFingerprints(
  tensors: ReadonlyMap<string, ArrayLike<number>>,
  names: readonly string[],
  fingerprints: ArrayLike<number>,
  limits: FingerprintLimits,
): void {
  equal(fingerprints.length, 2 * names.length);
  const largest = Math.max(...names.map((_, i) => fingerprints[2 * i]));
  for (const [i, name] of names.entries()) {
    const values = tensors.get(name), [wantedNorm, wantedDot] = [fingerprints[2 * i], fingerprints[2 * i + 1]];
    ok(values, `${name} is missing`);
    const random = uniformByRule(`fingerprint.${name}`, values.length);
    let squares = 0, dot = 0;
    for (let at = 0; at < values.length; at++) {
      squares += values[at] ** 2;
      dot += values[at] * random[at];
    }
    const norm = Math.sqrt(squares);
    if (wantedNorm <= 1e-6 * largest) {
      ok(norm <= 1e-5 * largest, `${name}: norm ${norm}, wanted nearly 0`);
      continue;
    }
    const normError = Math.abs(norm - wantedNorm) / wantedNorm;
    const dotError = Math.abs(Math.sqrt(3) * dot - wantedDot) / wantedNorm;
    ok(normError <= limits.norm, `${name}: norm ${norm}, wanted ${wantedNorm}`);
    ok(dotError <= limits.dot, `${name}: dot product ${Math.sqrt(3) * dot}, wanted ${wantedDot}`);
  }
}

/** The tensors whose names start so, without the start. */
export function startingWith(set: TensorSet, start: string): Map<string, ArrayLike<number>> {
  return new Map(
    [...set].filter(([name]) => name.startsWith(start)).map(([name, { data }]) => [name.slice(start.length), data]),
  );
}
