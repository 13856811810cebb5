/**
 * Type-checks the notebooks' code, which Deno's kernel runs unchecked. Exit code 1 where a type is wrong; lines in messages are those of
 * `out/notebooks/check/<name>.ts`.
 *
 * @module
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { projectFolder } from "../project_files.ts";
import { moduleOf, notebookNames, readNotebook } from "./notebook.ts";

const folder = join(projectFolder, "out", "notebooks", "check"), paths: string[] = [];
await mkdir(folder, { recursive: true });
for (const name of await notebookNames()) {
  const path = join(folder, `${name}.ts`);
  await writeFile(path, moduleOf(await readNotebook(name)));
  paths.push(path);
}
// `deno check` passes over what the project excludes, such as `out`, without a word.
const { code } = await new Deno.Command(Deno.execPath(), {
  args: ["cache", "--check", "--quiet", `--config=${join(projectFolder, "deno.json")}`, ...paths],
  stdout: "inherit",
  stderr: "inherit",
}).output();
if (code === 0) console.log(`Notebooks: types of ${paths.length} are right`);
Deno.exit(code);
