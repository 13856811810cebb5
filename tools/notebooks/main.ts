/**
 * Executes the notebooks in Deno's Jupyter kernel, and compares their figures with recorded ones: `deno task notebooks [names] [--quick]
 * [--python=<python with nbclient>] [--record]`. Exit code 1 where a cell fails or a figure differs; 2 where there is no nbclient.
 *
 * @module
 */
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { taskCommand } from "../../cli/task_command.ts";
import { projectFolder } from "../project_files.ts";
import { launchEnvironment } from "../launch_environment.ts";
import {
  differingFigures,
  type Figure,
  figuresIn,
  figuresOf,
  machineOfRuns,
  notebookNames,
  notebooksFolder,
  type RecordedFigures,
  whyNotSameBits,
} from "./notebook.ts";

/** Recorded figures: of each notebook, run in full and quickly. */
type Recorded = Record<string, { full?: RecordedFigures; quick?: RecordedFigures }>;

const recordedPath = join(notebooksFolder, "figures.json");
const work = join(projectFolder, "out", "notebooks");

/** Most bytes that a notebook may have, so that it can be read on the web and kept in the repository. */
const mostBytes = 1e6;

const command = taskCommand(
  "deno task notebooks",
  "Executes the notebooks in Deno's Jupyter kernel, and compares their figures with recorded ones.",
)
  .argument("[names...]", "notebooks; all of them when left out")
  .option("--quick", "take settings that only show that everything runs")
  .option("--record", "take what is found as the recorded figures and, in full, the notebooks as they are committed")
  .option("--python <path>", "Python with nbclient", "python3")
  .parse(Deno.args, { from: "user" });
const values = command.opts(), [positionals] = command.processedArgs;
const mode = values.quick ? "quick" : "full", known = await notebookNames();
const unknown = positionals.find((name) => !known.includes(name));
if (unknown !== undefined) leave(`There is no notebook ${JSON.stringify(unknown)}; there are ${known.join(", ")}`);
await checkPython();
const recorded: Recorded = JSON.parse(await readFile(recordedPath, "utf8"));
const problems: string[] = [];
for (const name of positionals.length > 0 ? positionals : known) problems.push(...await execute(name));
for (const problem of problems) console.error(problem);
Deno.exit(problems.length > 0 ? 1 : 0);

/** Executes a notebook; what is wrong with it, in sentences. */
async function execute(name: string): Promise<string[]> {
  // What somebody computed in a notebook of their own lies beside it, and is let alone.
  const folder = join(work, "executed", mode), executed = join(folder, `${name}.ipynb`);
  await mkdir(folder, { recursive: true });
  const figuresFile = join(folder, `${name}.txt`);
  for (const made of [figuresFile, join(folder, name)]) await rm(made, { recursive: true, force: true });
  await writeFile(figuresFile, "");
  console.log(`${name}, ${mode}`);
  const started = performance.now();
  const script = fileURLToPath(new URL("execute.py", import.meta.url));
  const { success } = await new Deno.Command(values.python, {
    args: [script, join(notebooksFolder, `${name}.ipynb`), notebooksFolder, executed],
    env: {
      ...launchEnvironment(),
      JUPYTER_PATH: await writeKernel(),
      DUALORA_NOTEBOOK: mode,
      DUALORA_NOTEBOOK_FOLDER: folder,
      DUALORA_NOTEBOOK_FIGURES: figuresFile,
    },
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).output();
  if (!success) return [`${name}: a cell failed; the notebook as far as it came is ${executed}`];
  console.log(`${name}: ${((performance.now() - started) / 1000).toFixed(0)} s, ${executed}`);
  const text = await readFile(executed, "utf8"), found = figuresIn(await readFile(figuresFile, "utf8"));
  for (const [figure, { value, within }] of found) console.log(`  ${figure} = ${value} ± ${within}`);
  const machine = await machineOfRuns(join(folder, name));
  if (!values.record) return compare(found, recorded[name]?.[mode], machine).map((text) => `${name}: ${text}`);
  const problem = values.quick ? null : whyNotCommitted(text, found);
  if (problem !== null) return [`${name}: ${problem}`];
  const figures = Object.fromEntries([...found].map(([figure, { value }]) => [figure, value]));
  recorded[name] = { ...recorded[name], [mode]: { machine, figures } };
  await writeFile(recordedPath, `${JSON.stringify(recorded, null, 2)}\n`);
  if (!values.quick) await cp(executed, join(notebooksFolder, `${name}.ipynb`));
  return [];
}

/** Compares figures with recorded ones, and says how; what differs, in sentences. */
function compare(
  found: ReadonlyMap<string, Figure>,
  before: RecordedFigures | undefined,
  machine: RecordedFigures["machine"],
): string[] {
  if (before === undefined) return ["no figures are recorded; --record takes these"];
  const reasons = whyNotSameBits(before.machine, machine);
  console.log(
    reasons.length === 0
      ? "  compared bit by bit: they were recorded with this adapter, driver and versions"
      : `  compared within the distances behind them, not bit by bit:\n${
        reasons.map((reason) => `    ${reason}`).join("\n")
      }`,
  );
  return differingFigures(found, before.figures, reasons.length === 0);
}

/** Why an executed notebook cannot be committed as it is; null if it can. */
function whyNotCommitted(text: string, found: ReadonlyMap<string, Figure>): string | null {
  if (text.length > mostBytes) {
    return `executed it has ${text.length} bytes, more than ${mostBytes}; show less, or smaller pictures`;
  }
  if (!isDeepStrictEqual(figuresOf(JSON.parse(text)), found)) {
    return "the executed notebook does not show all of its figures: the kernel has lost some; run it again";
  }
  return text.includes(projectFolder) ? `it shows where it ran, ${projectFolder}; leave that out` : null;
}

/** A folder with the description of Deno's kernel, so that nothing has to be installed for the user. */
async function writeKernel(): Promise<string> {
  const folder = join(work, "kernels", "deno"),
    argv = [Deno.execPath(), "jupyter", "--kernel", "--conn", "{connection_file}"];
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "kernel.json"), JSON.stringify({ argv, display_name: "Deno", language: "typescript" }));
  return resolve(work);
}

/** Ends the process where Python or nbclient is missing. */
async function checkPython(): Promise<void> {
  const { python } = values;
  let found: Deno.CommandOutput | null = null;
  try {
    found = await new Deno.Command(python, { args: ["-c", "import nbclient"], stdout: "null", stderr: "null" })
      .output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  if (found?.success) return;
  leave(
    `Cannot execute notebooks: ${found ? `${python} has no nbclient` : `there is no ${python}`}. With Python 3:\n\n` +
      "  python3 -m venv out/venv && out/venv/bin/pip install nbclient\n\n" +
      "then run this again with --python=out/venv/bin/python; on Debian apt-get install python3-nbclient does as well",
  );
}

function leave(message: string): never {
  console.error(message);
  Deno.exit(2);
}
