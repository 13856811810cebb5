import { Command } from "@commander-js/extra-typings";
import { realpath, stat } from "node:fs/promises";
import { basename, join, relative, resolve, sep } from "node:path";
import { readRunRecord, type RunRecord, runRecordName, versions } from "../pipeline/mod.ts";
import {
  areEqual,
  changedInputs,
  changedMachine,
  changedSources,
  compareRuns,
  comparisonText,
  isInside,
} from "../steps/rerun/compare_runs.ts";
import { exitCodes } from "./exit_codes.ts";
import { runProgram } from "./forward_signals.ts";
import { launcherArgs } from "./launcher_args.ts";
import { shellText } from "./shell_text.ts";
import { UsageError } from "./usage_error.ts";

/** The command that repeats a run: see docs/outputs.md. */
export function rerunCommand() {
  return new Command("rerun").summary("repeat a run from its run.json, and say whether the outputs are bit-equal")
    .description(
      "Repeats a run from its run.json: the same script with the same arguments, into a new folder. Then says of each file whether it is bit-equal, and " +
        "what was not compared.",
    )
    .argument("<run.json>", "what a run left in its folder, or that folder")
    .option(
      "--output_dir <folder>",
      "where the repetition writes; the first run's folder with _rerun behind it when left out",
    )
    .option("--anyway", "repeat it though inputs are not what they were")
    .addHelpText(
      "after",
      `
Example:
  deno task rerun out/demo/run/run.json --output_dir out/again

Exit codes: 0 all that was compared is bit-equal, but for times; 4 something is
not, or nothing could be compared; 2 it cannot be repeated, and why; else the
repetition's own. More: docs/outputs.md.`,
    )
    .action(async (path, { output_dir, anyway }) => {
      const code = await rerun(path, { ...(output_dir === undefined ? {} : { output_dir }), anyway: anyway === true });
      if (code !== exitCodes.done) Deno.exit(code);
    });
}

/** What a repetition is started with. */
interface Repetition {
  /** Arguments behind the script: the first run's, and its folders anew. */
  readonly args: readonly string[];
  readonly script: string;
  readonly workingFolder: string;
  /** The new run's record. */
  readonly record: string;
}

/**
 * Repeats a run into another folder, in a process of its own, and compares.
 *
 * @returns The exit code: that of the repetition where it did not end well, 4 where outputs differ.
 * @throws {UsageError} If it cannot be repeated.
 */
async function rerun(path: string, { output_dir, anyway }: { output_dir?: string; anyway: boolean }): Promise<number> {
  const file = await isFolder(path) ? join(path, runRecordName) : path, before = await recordAt(file);
  const again = await planRepetition(file, before, output_dir);
  const changed = await changedInputs(before);
  if (changed.length > 0 && !anyway) {
    throw new UsageError(
      `Cannot repeat ${file}: inputs are not what they were\n${changed.map((each) => `  ${each}`).join("\n")}\n` +
        "Put them back, or repeat it with --anyway",
    );
  }
  for (const each of [...changed, ...changedMachine(before, versions())]) note(each);
  const { script, args, workingFolder } = again;
  const code = await runProgram(Deno.execPath(), { args: launcherArgs(script, args), cwd: workingFolder });
  if (code !== exitCodes.done) {
    console.error(`The repetition ended with exit code ${code}, so there is nothing to compare yet`);
    return code;
  }
  const after = await recordAt(again.record), { machine } = after.starts.at(-1)!;
  const known = new Set(Object.keys(versions()));
  const found = Object.fromEntries(Object.entries(machine).filter(([name]) => !known.has(name)));
  for (const each of [...changedMachine(before, found), ...changedSources(before, after)]) note(each);
  const compared = await compareRuns(before, after);
  console.log(comparisonText(compared));
  return areEqual(compared) ? exitCodes.done : exitCodes.differs;
}

/**
 * What has to be started to repeat a run.
 *
 * @throws {UsageError} If the record does not say enough, or the new folder is the old one.
 */
async function planRepetition(file: string, before: RunRecord, given: string | undefined): Promise<Repetition> {
  const fail = (problem: string) => new UsageError(`Cannot repeat ${file}: ${problem}`);
  const { started, exit, workingFolder, folder } = before;
  if (exit?.outcome !== "finished") {
    throw fail(
      `the run is ${
        exit ? `${exit.outcome}${exit.message ? ` (${exit.message})` : ""}` : "at work, or was killed"
      }; let it end first`,
    );
  }
  if (!started) throw fail(howToRepeat(file, before));
  const { output_dir, ...others } = started.folders;
  if (output_dir === undefined) {
    throw fail(
      `${started.script} writes into folders of its own; with folder = d.outputFolder("…") it would take another`,
    );
  }
  if (!await isFolder(workingFolder)) throw fail(`the folder that it ran in, ${workingFolder}, is gone`);
  const old = resolve(workingFolder, output_dir), fresh = resolve(given ?? `${old}_rerun`);
  const run = resolve(workingFolder, folder);
  if (!isInside(run, old)) {
    throw fail(`its run folder ${folder} is not in its output folder ${output_dir}, so the repetition would share it`);
  }
  const [here, there] = await Promise.all([fresh, old].map((path) => realpath(path).catch(() => path)));
  if (here === there) throw fail(`${fresh} is where the run itself has written; name another folder with --output_dir`);
  const moved = Object.entries(others).map(([flag, path]) => `--${flag}=${join(fresh, basename(path))}`);
  return {
    script: resolve(workingFolder, started.script),
    args: [...started.args, `--output_dir=${fresh}`, ...moved],
    workingFolder,
    record: join(fresh, run.slice(old.length), runRecordName),
  };
}

/** What repeats a run that does not say how it was started: it is a part of something larger. */
function howToRepeat(file: string, { recipe }: RunRecord): string {
  const path = resolve(file).split(sep).join("/");
  const cell = /^(.*)\/cells\/[^/]+\/seed-(\d+)\/(?:run\/)?run\.json$/.exec(path);
  if (recipe.startsWith("compare ") && cell !== null) {
    const [, folder, seed] = cell, variant = recipe.slice("compare ".length);
    const words = ["--variants", variant, "--seeds", seed, "--output_dir", `${relative(".", folder)}_rerun`];
    return "it is a cell of a comparison, which the command that made it makes again in a new folder:\n\n" +
      `  ${shellText(["deno", "task", "compare", ...words])}\n\n` +
      "with the flags for pictures of your own if it had such; a notebook's comparison, by running the notebook. Then compare the two cell.json";
  }
  if (recipe.startsWith("compare ")) {
    return "it is what the cells of a comparison share; ask for one of them: cells/<variant>/seed-<seed>/run.json";
  }
  return `the run of ${
    JSON.stringify(recipe)
  } does not say how it was started: a notebook ran it, or a program that is no file. ` +
    "Run that again in another folder; deno task notebooks does so with the project's notebooks, and compares their figures with recorded ones";
}

async function recordAt(path: string): Promise<RunRecord> {
  try {
    return await readRunRecord(path);
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    throw new UsageError(code === "ENOENT" ? `Cannot read ${path}: there is no such file` : message, { cause: error });
  }
}

async function isFolder(path: string): Promise<boolean> {
  return await stat(path).then((found) => found.isDirectory(), () => false);
}

function note(text: string): void {
  console.error(`Note: ${text}`);
}
