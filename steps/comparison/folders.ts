import { join } from "node:path";
import { type ComparisonOptions, type Variant, variantFolder } from "./variant.ts";

/** Where the base's own answers are made. */
export function baseFolder({ folder }: Pick<ComparisonOptions, "folder">): string {
  return join(folder, "base");
}

/** The folder of the network 1 of a seed, and of the pictures with it alone. */
export function network1Folder(
  { folder }: Pick<ComparisonOptions, "folder">,
  seed: number,
  isOrthonormal: boolean,
): string {
  return join(folder, "network1", `seed-${seed}${isOrthonormal ? "-orthonormal" : ""}`);
}

/** A cell's folder. */
export function cellFolder(
  { folder }: Pick<ComparisonOptions, "folder">,
  variant: Pick<Variant, "name">,
  seed: number,
): string {
  return join(folder, "cells", variantFolder(variant), `seed-${seed}`);
}

/** The folder in which a run of a cell, or of a network 1, works. */
export function runFolder(own: string): string {
  return join(own, "run");
}
