/**
 * Checks that all that a `mod.ts` exports has a doc comment: `deno run -A tools/check_docs.ts`. Prints each symbol without one as
 * `file:line: what`; exit code 1 if there is one.
 *
 * @module
 */
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { findUndocumented } from "./doc_rules.ts";
import type { Violation } from "./import_rules.ts";
import { listSourceFiles, projectFolder } from "./project_files.ts";

const doors = (await listSourceFiles()).filter((file) => file === "mod.ts" || file.endsWith("/mod.ts"));
if (doors.length === 0) {
  console.error(`Cannot check doc comments: there is no mod.ts in ${projectFolder}`);
  Deno.exit(1);
}
const problems = new Set<string>();
for (const door of doors) {
  for (const { file, line, message } of await undocumentedIn(door)) {
    problems.add(`${relative(projectFolder, fileURLToPath(file))}:${line}: ${message}`);
  }
}
for (const problem of problems) console.error(problem);
console.log(`Doc comments: ${doors.join(", ")}: ${problems.size} problems`);
Deno.exit(problems.size === 0 ? 0 : 1);

/** One door at a time, since Deno shows what a door passes on as its own only if it is asked for that door alone. */
async function undocumentedIn(door: string): Promise<Violation[]> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", "--json", "--quiet", door],
    cwd: projectFolder,
  }).output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`deno doc ${door} failed: ${decoder.decode(stderr).trim()}`);
  return findUndocumented(JSON.parse(decoder.decode(stdout)));
}
