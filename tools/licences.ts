/**
 * Writes `docs/licences.md`: every package that `deno.lock` names, with its licence: `deno run -A tools/licences.ts`.
 *
 * @module
 */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { projectFolder } from "./project_files.ts";

/** A package of the lock file. */
export interface LockedPackage {
  readonly name: string;
  readonly version: string;
  /** Whether it asks for a script to be run when it is installed. */
  readonly hasScript: boolean;
  /** Null for a package of another system, which is not installed here. */
  readonly installed: { readonly license: unknown; readonly scripts: Readonly<Record<string, string>> } | null;
}

/** Licences of packages that are installed on other systems alone, as the registry has them; the first beginning that fits counts. */
const elsewhere: readonly (readonly [beginning: string, licence: string])[] = [
  ["@emnapi/runtime", "MIT"],
  ["@img/sharp-libvips-", "LGPL-3.0-or-later"],
  ["@img/sharp-win32-", "Apache-2.0 AND LGPL-3.0-or-later"],
  ["@img/sharp-wasm32", "Apache-2.0 AND LGPL-3.0-or-later AND MIT"],
  ["@img/sharp-", "Apache-2.0"],
];

/** All packages of `deno.lock`, those of other packages among them, in the order of their names. */
export async function lockedPackages(): Promise<LockedPackage[]> {
  const { npm } = JSON.parse(await readFile(join(projectFolder, "deno.lock"), "utf8"));
  const store = join(projectFolder, "node_modules", ".deno"), folders = await readdir(store);
  const found = new Map<string, LockedPackage>();
  for (const [key, entry] of Object.entries<{ scripts?: boolean }>(npm)) {
    // Behind the version stand those that it is used with.
    const [, name, version] = /^(@?[^@]+)@([^_]+)/.exec(key)!;
    const folder = folders.find((each) => each.startsWith(`${name.replace("/", "+")}@${version}`));
    const isHere = folder !== undefined && (await readdir(join(store, folder))).includes("node_modules");
    const json = isHere
      ? JSON.parse(await readFile(join(store, folder, "node_modules", name, "package.json"), "utf8"))
      : null;
    const installed = json && { license: json.license, scripts: json.scripts ?? {} };
    found.set(`${name}@${version}`, { name, version, hasScript: entry.scripts === true, installed });
  }
  return [...found.values()].sort((a, b) => `${a.name}@${a.version}` < `${b.name}@${b.version}` ? -1 : 1);
}

/**
 * A package's licence.
 *
 * @throws {Error} If it says none.
 */
export function licenceOf({ name, installed }: LockedPackage): string {
  const licence = elsewhere.find(([beginning]) => name.startsWith(beginning))?.[1] ?? installed?.license;
  if (typeof licence === "string") return licence;
  throw new Error(`Cannot list licences: ${name} says none; look it up, and put it into tools/licences.ts`);
}

/** The page. */
export async function licencesPage(): Promise<string> {
  const packages = await lockedPackages();
  const byLicence = Map.groupBy(packages, licenceOf);
  const rows = [...byLicence].sort(([a], [b]) => a < b ? -1 : 1).map(([licence, of]) =>
    `| ${licence} | ${of.length} | ${of.map(({ name, version }) => `${name} ${version}`).join(", ")} |`
  );
  return [
    "# Licences",
    "",
    `The ${packages.length} packages that \`deno.lock\` names, for all systems: those of [dependencies.md](dependencies.md) and all that these need.`,
    "Written by `deno run -A tools/licences.ts`; a test compares it with the lock file. None of them runs a script when it is installed.",
    "The programs that `deno task bench:peers` compares with have a lock file of their own; nothing else needs them.",
    "",
    "| Licence | Packages | |",
    "| --- | --- | --- |",
    ...rows,
    "",
  ].join("\n");
}

if (import.meta.main) await writeFile(join(projectFolder, "docs", "licences.md"), await licencesPage());
