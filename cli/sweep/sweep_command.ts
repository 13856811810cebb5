import { mkdir, stat } from "node:fs/promises";
import { delimiter, join } from "node:path";
import process from "node:process";
import { Command } from "@commander-js/extra-typings";
import { writeTextFile } from "../../steps/outputs/text_file.ts";
import { exitCodeOf, exitCodes } from "../exit_codes.ts";
import { shellText } from "../shell_text.ts";
import { UsageError } from "../usage_error.ts";
import { readAttempts, runState } from "./attempts.ts";
import { checkRuns } from "./check_runs.ts";
import { expandSweep, isRunName, type SweepRun } from "./expand_sweep.ts";
import { gatherSweep } from "./gather.ts";
import { runAll } from "./run_all.ts";
import { runOne } from "./run_one.ts";
import { sbatchScript } from "./sbatch_script.ts";
import { readSweepFile } from "./sweep_file.ts";
import { runFolder, writeSweepFolder } from "./sweep_folder.ts";
import { terminalTable, writeSweepTables } from "./sweep_tables.ts";

/** `sweep <file>`, `sweep gather <folder>`, and `sweep run <folder> <run>`, which the batch script calls; see docs/sweeps.md. */
export function sweepCommand(): Command {
  const command = new Command("sweep").summary("train with many settings: here in order, or as a Slurm job array")
    .description(
      "Trains with many settings, which a file in TOML lists: in order on this machine, or, where sbatch is on the PATH, by a batch script for Slurm that is " +
        "written and not yet submitted. The same command goes on with what is not done.",
    )
    .argument("<file>", "the sweep, in TOML")
    .option("--output_dir <folder>", "folder of the sweep, in the place of the file's")
    .option("--local", "run here, in order, also where Slurm is there")
    .option("--describe", "check all runs, list them, and stop")
    .action((file, options) => ending(() => sweep(file, options)));
  command.command("gather").summary("what the runs of a sweep came to: a table, results.csv, .json and .md")
    .description(
      "Prints what the runs of a sweep came to so far, and writes it into the folder as results.csv, results.json and results.md.",
    )
    .argument("<folder>", "folder of the sweep: its output_dir")
    .action((folder) => ending(() => gather(folder)));
  command.addHelpText(
    "after",
    `
Examples:
  deno task sweep sweep.toml --describe   check file and data, list the runs
  deno task sweep sweep.toml              train them, or write Slurm's script
  deno task sweep gather out/ranks        how they stand, at any time

Exit codes: 0 all runs are done, or the script is written; 75 stopped, and the
same command goes on; else that of the first run that failed.
docs/sweeps.md has a whole sweep.toml.`,
  );
  // The batch script's own.
  command.command("run", { hidden: true }).description("run one run of a sweep, or go on with it")
    .argument("<folder>", "folder of the sweep")
    .argument("<run>", "name of the run")
    .action((folder, name) => {
      if (!isRunName(name)) throw new UsageError(`${JSON.stringify(name)} is no name of a run`);
      return ending(() => runOne(folder, name));
    });
  return command as unknown as Command;
}

async function sweep(
  file: string,
  { output_dir, local, describe }: { output_dir?: string; local?: true; describe?: true },
): Promise<number> {
  const found = await readSweepFile(file, output_dir), { folder, slurm } = found;
  const runs = expandSweep(found), open = await notDone(folder, runs);
  if (open.length > 1) console.error(`Checking ${open.length} runs`);
  for (const note of [...found.notes, ...await checkRuns(folder, open)]) console.error(`Note: ${note}`);
  if (describe) {
    const isOpen = new Set(open);
    console.log(runs.map((run) => `${run.name}${isOpen.has(run) ? "" : " (done)"}`).join("\n"));
    return exitCodes.done;
  }
  await mkdir(folder, { recursive: true });
  await writeSweepFolder(folder, runs);
  const names = open.map(({ name }) => name);
  if (names.length === 0) {
    console.log(runs.length === 1 ? "The run is done" : `All ${runs.length} runs are done`);
    return await gather(folder);
  }
  const script = join(folder, "sweep.sbatch");
  // Slurm makes no folders for what it writes.
  await mkdir(join(folder, "slurm"), { recursive: true });
  await writeTextFile(script, sbatchScript(slurm, { file, folder, names, workingFolder: Deno.cwd() }));
  if (!local && await isOnPath("sbatch")) {
    console.log(
      `${
        counted(names.length)
      } ready for Slurm; --local trains here instead. Submit, and look at the results, with\n\n` +
        `  ${shellText(["sbatch", script])}\n  ${shellText(["deno", "task", "sweep", "gather", folder])}\n`,
    );
    return exitCodes.done;
  }
  const code = await runAll(folder, names);
  await gather(folder);
  return code;
}

async function gather(folder: string): Promise<number> {
  const rows = await gatherSweep(folder);
  await writeSweepTables(folder, rows);
  console.log(terminalTable(rows));
  return exitCodes.done;
}

async function notDone(folder: string, runs: readonly SweepRun[]): Promise<SweepRun[]> {
  const open: SweepRun[] = [];
  for (const run of runs) {
    if (runState(await readAttempts(runFolder(folder, run.name)), false) !== "done") open.push(run);
  }
  return open;
}

function counted(runs: number): string {
  return runs === 1 ? "1 run is" : `${runs} runs are`;
}

async function isOnPath(program: string): Promise<boolean> {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    if (folder !== "" && await stat(join(folder, program)).then((found) => found.isFile(), () => false)) return true;
  }
  return false;
}

/** Ends the process with what a command returns, or with what its error stands for. */
async function ending(body: () => Promise<number>): Promise<void> {
  try {
    const code = await body();
    if (code !== exitCodes.done) Deno.exit(code);
  } catch (error) {
    if (!(error instanceof Error) || error instanceof UsageError) throw error;
    const code = exitCodeOf(error);
    if (code === exitCodes.fault) throw error;
    console.error(error.message);
    Deno.exit(code);
  }
}
