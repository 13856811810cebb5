import { deepEqual, match } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import project from "../../deno.json" with { type: "json" };
import { inNewFolder, resultOf, startScript } from "../examples/run_example.ts";

const root = join(import.meta.dirname!, "../..");

/** Tasks that are several commands, or Deno's own, which has its own help. */
const others = ["ok", "check", "test:browser"];
/** Tasks whose flags are those of `deno test`, which refuses what it does not know. */
const deniedByDeno = ["test", "test:full", "fuzz"];

/** The script that a task starts, and what it hands over. */
function startedBy(task: string): { script: string; args: string[] } {
  const words = task.split(" ").filter((word) => word !== "tools/launch.ts");
  const at = words.findIndex((word) => word.endsWith(".ts"));
  return { script: join(root, words[at]), args: words.slice(at + 1) };
}

Deno.test("every task prints its usage for --help and ends with 0, and with 2 for a flag that it does not know", async (t) => {
  for (const [name, task] of Object.entries(project.tasks).filter(([name]) => !others.includes(name))) {
    await t.step(name, () =>
      inNewFolder(async (folder) => {
        const { script, args } = startedBy(task);
        const run = (flag: string) => resultOf(startScript(script, folder, { args: [...args, flag] }));
        const help = await run("--help");
        deepEqual([help.code, help.stderr], [0, ""]);
        match(help.stdout, /^Usage: \S/);
        // A recipe's own, which it looks up by itself.
        if ((await readFile(script, "utf8")).includes('Deno.args.includes("--quick")')) {
          match(help.stdout, /\n {2}--quick /);
        }
        if (deniedByDeno.includes(name)) {
          return;
        }
        const { code, stdout, stderr } = await run("--no_such_flag");
        deepEqual([code, stdout], [2, ""], stderr);
        match(stderr, /no_such_flag/);
        deepEqual([...Deno.readDirSync(folder)], []);
      }));
  }
});
