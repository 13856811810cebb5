import { deepEqual, equal, ok } from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { inNewFolder, resultOf } from "../examples/run_example.ts";

const url = (path: string) => new URL(`../../${path}`, import.meta.url);

/** Counts in a file until it is stopped, and saves then. */
const counting = `
import { runRecipe } from "${url("cli/run_recipe.ts").href}";
import { defineStep, pipeline } from "${url("pipeline/mod.ts").href}";
const count = defineStep({
  name: "count",
  async run(_, run) {
    for (let done = 1;; done++) {
      run.progress({ done, total: 1e6, unit: "steps" });
      Deno.writeTextFileSync("count", \`\${Deno.pid} \${done}\`);
      await new Promise((next) => setTimeout(next, 10));
      if (run.signal.aborted) Deno.writeTextFileSync("saved", "");
      run.signal.throwIfAborted();
    }
  },
});
await runRecipe(pipeline("counting").use(count), { folder: "run", args: [] });
`;

/** Runs it in a terminal, which it closes once it counts; the arguments stand before the command. Prints how far it was then, and how far a while later. */
const closing = `
const config = "--config=${
  fileURLToPath(url("deno.json"))
}", wait = (ms) => new Promise((next) => setTimeout(next, ms));
// A file that is just being written reads as empty: what was read before stands.
let pid = 0, last = 0;
const counted = async () => {
  const found = /^(\\d+) (\\d+)$/.exec(await Deno.readTextFile("count").catch(() => ""));
  if (found) [pid, last] = found.slice(1).map(Number);
  return last;
};
const command = [...Deno.args, Deno.execPath(), "run", "-A", "-q", config, "counting.ts"].join(" ");
let terminal;
try {
  terminal = new Deno.Command("script", { args: ["-qfc", command, "/dev/null"], stdin: "null", stdout: "null" }).spawn();
} catch (error) {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
  Deno.exit(99);
}
for (let tries = 0; await counted() < 3 && tries < 3000; tries++) await wait(10);
const before = await counted();
terminal.kill("SIGKILL");
await terminal.status;
await wait(1000);
// What goes on may be slow on a busy machine.
for (let tries = 0; Deno.args.length > 0 && await counted() <= before + 20 && tries < 3000; tries++) await wait(10);
console.log(before, await counted());
// Ends what still counts.
if (Deno.args.length > 0) Deno.kill(pid, "SIGTERM");
for (let tries = 0; !(await Deno.stat("saved").catch(() => null)) && tries < 500; tries++) await wait(10);
`;

Deno.test({
  name: "a run whose terminal is closed saves and leaves with 75; what nohup started goes on",
  ignore: Deno.build.os !== "linux",
  fn: async (t) => {
    for (const prefix of [[], ["nohup"]]) {
      const name = prefix.length === 0 ? "in a terminal" : "by nohup";
      await t.step(name, () =>
        inNewFolder(async (folder) => {
          await writeFile(join(folder, "counting.ts"), counting);
          await writeFile(join(folder, "closing.js"), closing);
          const { code, stdout, stderr } = await resultOf(
            new Deno.Command(Deno.execPath(), {
              args: ["run", "-A", "-q", "closing.js", ...prefix],
              cwd: folder,
              stdout: "piped",
              stderr: "piped",
            }).spawn(),
          );
          // There is no script(1), which makes terminals.
          if (code === 99) return;
          equal(code, 0, stderr);
          const [before, later] = stdout.trim().split(" ").map(Number);
          if (prefix.length > 0) ok(later > before + 20, stdout);
          else ok(later <= before + 5, stdout);
          ok(await stat(join(folder, "saved")));
          const record = join(folder, "run", "run.json");
          let exit: { outcome: string; code: number } | null = null;
          for (let tries = 0; exit === null && tries < 100; tries++) {
            await new Promise((next) => setTimeout(next, 20));
            ({ exit } = JSON.parse(await readFile(record, "utf8")));
          }
          deepEqual([exit!.outcome, exit!.code], ["stopped", 75]);
        }));
    }
  },
});
