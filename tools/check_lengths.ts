/**
 * Checks that no file with a program is longer than the style allows: `deno run -A tools/check_lengths.ts`. Prints each that is as
 * `file: what`; exit code 1 if there is one.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { describeLength } from "./length_rule.ts";
import { listPrograms, projectFolder } from "./project_files.ts";

const files = await listPrograms(), problems: string[] = [];
for (const file of files) {
  const message = describeLength(await readFile(projectFolder + file, "utf8"));
  if (message !== null) problems.push(`${file}: ${message}`);
}
for (const problem of problems) console.error(problem);
console.log(`Lengths: ${files.length} files, ${problems.length} problems`);
Deno.exit(problems.length === 0 ? 0 : 1);
