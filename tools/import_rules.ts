/** An import of one of our files by another; paths from the project folder, with `/`. */
export interface ImportEdge {
  file: string;
  /** Line of the import, from 1. */
  line: number;
  /** What is imported: a path, or for anything outside of the project its full specifier. */
  imported: string;
}

/** A broken rule and where it is broken. */
export interface Violation {
  file: string;
  /** From 1. */
  line: number;
  message: string;
}

const engineParts = ["engine/graph", "engine/ops", "engine/autodiff", "engine/plan", "engine/gpu"];

/**
 * Which folders the files of a folder may import beside their own. `engine` stands for `engine/mod.ts`, its only door; `mod.ts` for the
 * file at the top. A folder that is not here may not exist.
 */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  "engine/graph": [],
  "engine/ops": ["engine/graph"],
  "engine/autodiff": ["engine/graph", "engine/ops"],
  "engine/plan": ["engine/graph"],
  "engine/gpu": ["engine/graph", "engine/plan"],
  engine: engineParts,
  formats: [],
  // How files are written whole; deno.json for the version that a run's record names.
  pipeline: ["formats", "deno.json"],
  random: [],
  data: ["formats", "random"],
  models: ["engine", "formats"],
  lora: ["engine", "models", "formats", "random"],
  training: ["engine", "models", "lora", "data", "formats", "random"],
  // deno.json for the version that reports name.
  steps: ["engine", "formats", "random", "data", "models", "lora", "training", "pipeline", "deno.json"],
  // deno.json for the names of tasks that are no commands.
  cli: ["steps", "pipeline", "deno.json"],
  dashboard: ["steps", "pipeline", "formats"],
  examples: ["mod.ts"],
  "mod.ts": ["engine", "formats", "random", "data", "models", "lora", "training", "steps", "pipeline", "cli"],
  bench: [
    ...["engine", "formats", "random", "data", "models", "lora", "training", "steps", "pipeline", "cli", "tools"],
    "mod.ts",
  ],
  // deno.json for what its sets of permissions read.
  tools: [
    ...["engine", "formats", "random", "data", "models", "lora", "training", "steps", "pipeline", "cli", "mod.ts"],
    "deno.json",
  ],
};

/** Tests look at whatever they test. */
function isTest(file: string): boolean {
  return file.startsWith("tests/") || file.endsWith("_test.ts") || /(^|\/)_test_\w+\.ts$/.test(file);
}

/** The folder of {@linkcode mayImport} that a file belongs to. */
function folderOf(file: string): string {
  const part = engineParts.find((part) => file.startsWith(`${part}/`));
  return part ?? file.split("/")[0];
}

/** Finds imports against the direction in which data flows between folders. */
export function findImportViolations(edges: readonly ImportEdge[]): Violation[] {
  const violations: Violation[] = [];
  for (const { file, line, imported } of edges) {
    const message = describeImport(file, imported);
    if (message !== null) violations.push({ file, line, message });
  }
  return violations;
}

function describeImport(file: string, imported: string): string | null {
  if (/^(https?|jsr):/.test(imported)) return `imports ${imported}: only the npm registry is used`;
  if (/^[a-z]+:/.test(imported) || isTest(file)) return null;
  if (isTest(imported)) return `imports ${imported}: only tests may import tests`;
  const from = folderOf(file);
  const to = folderOf(imported);
  const allowed = Object.hasOwn(mayImport, from) ? mayImport[from] : undefined;
  if (allowed === undefined) return `${from} has no rule: add it to the table of tools/import_rules.ts`;
  if (from === to) return null;
  const isInsideEngine = from === "engine" || engineParts.includes(from);
  if (!isInsideEngine && (to === "engine" || engineParts.includes(to))) {
    if (allowed.includes("engine") && imported === "engine/mod.ts") return null;
    if (allowed.includes("engine")) return `imports ${imported}: outside of engine/ only engine/mod.ts may be imported`;
  }
  if (allowed.includes(to)) return null;
  return `imports ${imported}: ${from} may import ${allowed.join(", ") || "none of our folders"}`;
}

/** Finds names of WebGPU's own objects outside of `engine/gpu`, the only folder that knows them; comments may name them. */
export function findGpuNameViolations(file: string, text: string): Violation[] {
  // The set-up's probe asks for an adapter before the engine can run.
  if (file.startsWith("engine/gpu/") || file.startsWith("tools/") || isTest(file)) return [];
  return withoutCommentsAndStrings(text).split("\n").flatMap((line, index) => {
    const name = line.match(/\bGPU[A-Z]\w*|\bnavigator\.gpu\b/)?.[0];
    return name === undefined
      ? []
      : [{ file, line: index + 1, message: `names ${name}: only engine/gpu may know WebGPU's objects` }];
  });
}

/** Keeps the lines, so that their numbers stay right. */
function withoutCommentsAndStrings(text: string): string {
  return text.replace(
    /"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|\/\/.*|\/\*[\s\S]*?\*\//g,
    (found) => "\n".repeat(found.split("\n").length - 1),
  );
}
