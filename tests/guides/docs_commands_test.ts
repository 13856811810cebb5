import { deepEqual, equal, match, ok } from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { inNewFolder } from "../steps/small_training.ts";
import { writeRuleLora } from "../steps/rule_lora.ts";
import { resultOf, startScript } from "../examples/run_example.ts";
import { indentedCommands, shellCommands } from "./blocks.ts";
import { prepare, programWords, run } from "./commands.ts";

const docs = fileURLToPath(new URL("../../docs/", import.meta.url));

/** Commands of pages that are not run or planned here, each with its reason. */
const notRun: readonly (readonly [command: RegExp, reason: string])[] = [
  [/…/, "a part of a longer line"],
  [/^deno task rerun /, "it repeats what the page's training left; tests/cli/rerun_test.ts repeats a run"],
  [/^deno task sweep sweep\.toml$/, "tests/cli/sweep_test.ts plans the page's sweep"],
  [/^deno task sweep gather /, "it gathers what the page's sweep left; tests/cli/sweep_run_test.ts gathers"],
  [/^deno task dashboard /, "it serves until it is stopped; tests/network/dashboard_test.ts looks at it"],
  [/^deno task notebooks /, "it needs Python and many minutes; tests/examples/notebooks_test.ts runs the first"],
  [/^deno jupyter /, "it changes the reader's own Jupyter"],
];

/** The small base stands for models that the project does not bring. */
const standIn = (text: string) => text.replaceAll(/models\/sd15(\.safetensors)?|model\.safetensors/g, "toy");

Deno.test("commands that pages of docs show in a paragraph of their own are run or planned as they stand there", () =>
  inNewFolder(async (folder) => {
    await prepare(folder);
    for (const [salt, name] of ["a", "b"].entries()) await writeRuleLora(join(folder, `${name}.safetensors`), { salt });
    const commands = new Set<string>();
    for (const page of (await readdir(docs)).filter((name) => name.endsWith(".md"))) {
      for (const command of indentedCommands(await readFile(join(docs, page), "utf8"))) commands.add(command);
    }
    const planned: string[] = [];
    for (const command of commands) {
      if (notRun.some(([pattern]) => pattern.test(command))) continue;
      planned.push(command);
      const [words] = shellCommands(standIn(command)), [, , task, ...args] = words;
      if (task === "compare") {
        const script = fileURLToPath(new URL("../../examples/compare.ts", import.meta.url));
        const { code, stdout, stderr } = await resultOf(
          startScript(script, folder, { args: [...args, "--describe"] }),
        );
        equal(code, 0, stderr);
        match(stdout, /pretrain network 1/);
      } else if (words.includes("--base")) match(await run([...words.slice(1), "--describe"], folder), /measure/);
      else await run(programWords(words), folder);
    }
    // One of each kind is there, so that a page that is written otherwise is not passed over.
    for (const kind of ["deno task train", "deno task compare", "dualora measure"]) {
      ok(planned.some((command) => command.startsWith(kind)), `no ${kind} was planned`);
    }
    for (const [pattern, reason] of notRun) {
      ok([...commands].some((command) => pattern.test(command)), `no page has ${pattern}: ${reason}`);
    }
  }));

Deno.test("a command is a paragraph that is indented and begins with a program of ours, joined over its lines", () => {
  const page =
    "text\n\n    deno task a \\\n      --b\n    out/bin/x\n\n    other\n\n- item\n    deno task c\n\n    dualora d\n";
  deepEqual(indentedCommands(page), ["deno task a --b", "dualora d"]);
});
