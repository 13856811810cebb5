/**
 * Checks which folder imports which, and that only `engine/gpu` knows WebGPU's objects: `deno run -A tools/check_imports.ts`.
 * Prints each broken rule as `file:line: what`; exit code 1 if there is one.
 *
 * @module
 */
import { mkdir, readFile, rm } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { findGpuNameViolations, findImportViolations, type ImportEdge, type Violation } from "./import_rules.ts";
import { listSourceFiles, projectFolder } from "./project_files.ts";

/** The parts of `deno info --json` that matter here. */
interface ModuleGraph {
  modules: {
    specifier: string;
    error?: string;
    dependencies?: { specifier: string; code?: Resolution; type?: Resolution }[];
  }[];
}

interface Resolution {
  specifier?: string;
  error?: string;
  span?: { start: { line: number } };
}

const files = await listSourceFiles();
const graph = await readModuleGraph(files);
const violations = [...findImportViolations(listEdges(graph)), ...listUnresolved(graph)];
for (const file of files) {
  violations.push(...findGpuNameViolations(file, await readFile(projectFolder + file, "utf8")));
}
for (const { file, line, message } of violations) console.error(`${file}:${line}: ${message}`);
console.log(`Import rules: ${files.length} files, ${violations.length} problems`);
Deno.exit(violations.length === 0 ? 0 : 1);

/** Asks Deno once for all files, by a module that imports each of them. */
async function readModuleGraph(files: string[]): Promise<ModuleGraph> {
  const folder = join(projectFolder, "out");
  await mkdir(folder, { recursive: true });
  const entry = await Deno.makeTempFile({ dir: folder, suffix: ".ts" });
  try {
    await Deno.writeTextFile(entry, files.map((file) => `import "${pathToFileURL(projectFolder + file)}";\n`).join(""));
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", "--no-lock", "--config", `${projectFolder}deno.json`, entry],
    }).output();
    const decoder = new TextDecoder();
    if (!success) throw new Error(`deno info failed: ${decoder.decode(stderr).trim()}`);
    const graph: ModuleGraph = JSON.parse(decoder.decode(stdout));
    return {
      modules: graph.modules.filter(({ specifier }) =>
        specifier.startsWith(`${pathToFileURL(projectFolder)}`) && specifier !== `${pathToFileURL(entry)}`
      ),
    };
  } finally {
    await rm(entry);
  }
}

/** Type imports count as imports: they bind one folder's words to another's as well. */
function listEdges(graph: ModuleGraph): ImportEdge[] {
  return graph.modules.flatMap((module) =>
    (module.dependencies ?? []).flatMap(({ code, type }) =>
      [code, type].flatMap((found) =>
        found?.specifier === undefined
          ? []
          : [{ file: projectPath(module.specifier), line: lineOf(found), imported: projectPath(found.specifier) }]
      )
    )
  );
}

/** Imports that lead nowhere have no folder to judge. */
function listUnresolved(graph: ModuleGraph): Violation[] {
  return graph.modules.flatMap((module) => {
    const file = projectPath(module.specifier);
    const own = module.error === undefined ? [] : [{ file, line: 1, message: module.error }];
    const theirs = (module.dependencies ?? []).flatMap(({ code, type }) =>
      [code, type].flatMap((found) =>
        found?.error === undefined ? [] : [{ file, line: lineOf(found), message: found.error }]
      )
    );
    return [...own, ...theirs];
  });
}

function lineOf(resolution: Resolution): number {
  return (resolution.span?.start.line ?? 0) + 1;
}

/** The path from the project's folder; other specifiers as they are. */
function projectPath(specifier: string): string {
  if (!specifier.startsWith("file:")) return specifier;
  return relative(projectFolder, fileURLToPath(specifier)).split(sep).join("/");
}
