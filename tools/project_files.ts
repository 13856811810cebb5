import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The project's folder, with a separator at the end. */
export const projectFolder: string = fileURLToPath(new URL("../", import.meta.url));

const notOurs = ["node_modules", "out", "golden"];

/**
 * All TypeScript files of the project, sorted, as paths from its folder with `/`; without installed packages, results, hidden folders, and folders with
 * a `deno.json` of their own, whose packages are not the project's.
 */
export async function listSourceFiles(): Promise<string[]> {
  return await listFiles("", [".ts"], { apart: false });
}

/** As {@linkcode listSourceFiles}, all that people wrote as a program: other languages too, and the folders with a `deno.json` of their own. */
export async function listPrograms(): Promise<string[]> {
  return await listFiles("", [".ts", ".js", ".mjs", ".py", ".sh", ".css", ".html"], { apart: true });
}

async function listFiles(folder: string, endings: readonly string[], options: { apart: boolean }): Promise<string[]> {
  const files: string[] = [], entries = await readdir(join(projectFolder, folder), { withFileTypes: true });
  if (!options.apart && folder !== "" && entries.some(({ name }) => name === "deno.json")) return [];
  for (const entry of entries) {
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
    if (entry.name.startsWith(".") || notOurs.includes(entry.name)) continue;
    if (entry.isDirectory()) files.push(...await listFiles(path, endings, options));
    else if (endings.some((ending) => entry.name.endsWith(ending))) files.push(path);
  }
  return files.sort();
}
