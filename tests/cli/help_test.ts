import type { Command } from "@commander-js/extra-typings";
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { flagGroups, flagsByName } from "../../cli/flags/table.ts";
import { newCommand } from "../../cli/new/questions.ts";
import { rerunCommand } from "../../cli/rerun.ts";
import { sweepCommand } from "../../cli/sweep/sweep_command.ts";
import { completionScript, shells } from "../../cli/completion.ts";
import { makeTrainCommand } from "../../cli/settings/train_command.ts";
import { inNewFolder, runCommand } from "../examples/run_example.ts";

const help = makeTrainCommand().helpInformation();

function isRefused(name: string): boolean {
  const { status } = flagsByName.get(name)!;
  return typeof status === "object" && "refused" in status;
}

Deno.test("the help lists every flag that is not refused, in the table's groups; [_2] stands for those of network 2", () => {
  const listed = help.split("\n").filter((line) => line.startsWith("  --")).map((line) =>
    line.trim().split(" ")[0].slice(2)
  );
  const isSecond = (name: string) => name.endsWith("_2") && flagsByName.get(name.slice(0, -2))?.second === true;
  deepEqual(
    listed,
    [...flagsByName.keys()].filter((name) => !isRefused(name) && !isSecond(name)),
  );
  const headings = help.split("\n").filter((line) => /^\S.*:$/.test(line)).map((line) => line.slice(0, -1));
  const titles = flagGroups.filter(({ flags }) => flags.some(({ name }) => !isRefused(name))).map(({ title }) => title);
  deepEqual(headings.filter((heading) => titles.includes(heading)), titles);
  for (const line of help.split("\n")) ok(line.length <= 80, line);
});

Deno.test("the help says what a flag does, what it means here, and its defaults", () => {
  match(help, /--network_dim <rank>\n {6}rank; 4 when unset; counts only without --dim_from_weights: /);
  match(
    help,
    /--save_every_n_epochs <epochs>\n {6}save after [^-]+--save_n_epoch_ratio; default 1, one\s+network alone: unset\n/,
  );
  match(help, /--xformers\n {6}attention that saves memory \(here: no effect: /);
  match(help, /--half_annel_epoch <epoch>\n( {6}.*\n)+?.*also --half_anneal_epoch/);
});

Deno.test("sweep, rerun and new say in 80 columns what they do and leave, and sweep nothing of the batch script's own command", () => {
  const helpOf = (made: unknown) => {
    const command = made as Command;
    let text = "";
    command.configureOutput({ writeOut: (part) => text += part, getOutHelpWidth: () => 80 }).outputHelp();
    for (const line of text.split("\n")) ok(line.length <= 80, line);
    return text;
  };
  const sweep = helpOf(sweepCommand());
  match(sweep, /\nCommands:\n {2}gather <folder> .*\n(?! {2}\w)/s);
  ok(!/^ {2}run /m.test(sweep), sweep);
  match(sweep, /\nExit codes: 0 /);
  match(helpOf(rerunCommand()), /\nExit codes: 0 /);
  match(helpOf(newCommand()), /Nothing is trained, /);
});

Deno.test("--help and a command that is not there leave with 0 and 2", () =>
  inNewFolder(async (folder) => {
    const asked = await runCommand(["train", "--seed=1", "--help"], folder);
    deepEqual([asked.code, asked.stderr], [0, ""]);
    ok(asked.stdout.startsWith("Usage: dualora train [options]\n"));
    ok(asked.stdout.trimEnd().endsWith("docs/flags.md lists them all."));
    const unknown = await runCommand(["trian"], folder);
    equal(unknown.code, 2);
    match(unknown.stderr, /unknown command 'trian'\n\(Did you mean train\?\)/);
  }));

Deno.test("what is a task and no command is told as such, and the help names those that people look for", () =>
  inNewFolder(async (folder) => {
    const { code, stderr } = await runCommand(["dashboard", "out"], folder);
    deepEqual([code, stderr], [
      2,
      "dashboard is no command of dualora, but a task of its own: deno task dashboard (--help says what it takes)\n",
    ]);
    match((await runCommand(["--help"], folder)).stdout, /deno task demo, deno task compare, deno task dashboard/);
  }));

/** What stands before a flag's name where a script offers it; zsh's and fish's descriptions mention flags, too. */
const before = { bash: "--", zsh: "'--", fish: "-l " };

Deno.test("each shell's script completes all flags that are not refused, and the words of those that have choices", () => {
  for (const shell of shells) {
    const script = completionScript(
      shell,
      new Map([["train", "trains"], ["new", "asks"], ["inspect", "a file's metadata"]]),
    );
    for (const { name } of flagsByName.values()) {
      const isThere = new RegExp(`${before[shell]}${name}(?![a-z0-9_])`).test(script);
      equal(isThere, !isRefused(name), `${shell} and --${name}`);
    }
    match(script, /no fp16 bf16/);
    for (const command of ["train", "new", "inspect"]) ok(script.includes(command), `${shell} and ${command}`);
  }
});

Deno.test("a shell's script completes the names of all commands", () =>
  inNewFolder(async (folder) => {
    const { code, stdout } = await runCommand(["completion", "bash"], folder);
    equal(code, 0);
    match(stdout, /compgen -W "train new rerun sweep inspect measure convert merge resize extract completion" /);
  }));

Deno.test("completion leaves with 2 for a shell that it does not know", () =>
  inNewFolder(async (folder) => {
    const { code, stderr } = await runCommand(["completion", "tcsh"], folder);
    deepEqual([code, stderr], [2, 'There is no completion for "tcsh"; shells are bash, zsh, fish\n']);
  }));
