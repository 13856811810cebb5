/**
 * Writes `docs/memory.md` from plans of SD v1.5 in its full size, without a GPU: `deno task memory`.
 *
 * @module
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { taskCommand } from "../../cli/task_command.ts";
import { projectFolder } from "../project_files.ts";
import { memoryPage } from "./page.ts";

if (import.meta.main) {
  taskCommand("deno task memory", "Writes docs/memory.md from plans of SD v1.5 in its full size, without a GPU.")
    .parse(Deno.args, { from: "user" });
  await writeFile(join(projectFolder, "docs", "memory.md"), await memoryPage());
}
