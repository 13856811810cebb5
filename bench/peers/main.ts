/**
 * Runs the ops in dualora, jax-js, TensorFlow.js, and PyTorch where it is installed, a batch of each in turn, and prints one table:
 * `deno task bench:peers [--only=text] [--pass=forward] [--seconds=4] [--large] [--without=tfjs] [--python=python3] [--threads=1] [--out=lines.jsonl]`;
 * of lines that were kept, `deno task bench:peers lines.jsonl …`. bench/README.md says more.
 *
 * @module
 */
import { appendFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { countOf, secondsOf, taskCommand } from "../../cli/task_command.ts";
import { Device, NoAdapterError } from "../../engine/mod.ts";
import { setFlags } from "../../tools/permissions.ts";
import { projectFolder } from "../../tools/project_files.ts";
import { type Line, lineText } from "../line.ts";
import { nominalBytes, nominalOperations, type Op, type Pass, passes, readOps } from "../op_list.ts";
import { measureRoofline, type Roofline, rooflineLine, rooflineText, shareOfPeak } from "../roofline.ts";
import { measureInterleaved, type Outcome } from "./interleave.ts";
import { PeerProgram } from "./program.ts";
import type { Hello } from "./serve.ts";
import { compareLines, tableHead, tableRow, tableSummary } from "./table.ts";

const command = taskCommand(
  "deno task bench:peers",
  "Runs the ops in dualora, jax-js, TensorFlow.js and PyTorch, a batch of each in turn, and prints one table.",
)
  .argument("[files...]", "lines that were kept: prints their table, and measures nothing")
  .option("--only <text>", 'ops that have this in their "op shape"', "")
  .option("--pass <pass>", `${passes.join(" or ")} alone`)
  .option("--seconds <number>", "for each pass of an op in each program", secondsOf, 4)
  .option("--large", "sizes of SD v1.5, too")
  .option("--python <path>", "Python with PyTorch", "python3")
  .option("--threads <count>", "threads of PyTorch", countOf, 1)
  .option("--without <names>", "of jax-js, tfjs and torch, with commas", "")
  .option("--out <file>", "keeps the lines, behind those that are there")
  .parse(Deno.args, { from: "user" });
const options = command.opts(), [files] = command.processedArgs;
const { seconds } = options, without = options.without.split(",").filter(Boolean);
const unknown = without.find((name) => !["jax-js", "tfjs", "torch"].includes(name));
if (unknown !== undefined) stop(`--without has ${unknown}, must be of jax-js, tfjs and torch, with commas`);
if (options.pass !== undefined && !passes.includes(options.pass as Pass)) {
  stop(`--pass is ${options.pass}, must be ${passes.join(" or ")}`);
}
try {
  await (files.length > 0 ? printKept(files) : measure());
} catch (error) {
  if (!(error instanceof NoAdapterError)) throw error;
  stop(error.message);
}

function stop(message: string): never {
  console.error(message);
  Deno.exit(2);
}

/** Measures what the options ask for, and prints each row of the table as soon as it is there. */
async function measure(): Promise<void> {
  const ops = (await readOps()).filter((op) =>
    (options.large || !op.large) && `${op.op} ${op.shape}`.includes(options.only)
  );
  if (ops.length === 0) stop(`No op of bench/ops.json has "${options.only}" in its name and shape`);
  const roofline = await adapterRoofline();
  await keep([rooflineLine(roofline)]);
  console.log(`${rooflineText(roofline)}\n`);
  const programs = await startPrograms(), peers = programs.map(({ hello }) => hello.peer), rows = [];
  console.log(tableHead(peers));
  try {
    for (const op of ops) {
      for (const pass of passes) {
        if (options.pass !== undefined && options.pass !== pass) continue;
        const outcomes = await measureInterleaved(programs, op, pass, { seconds });
        const lines = outcomes.map((outcome, i) => lineOf(programs[i].hello, op, pass, outcome, roofline));
        await keep(lines);
        rows.push(compareLines(lines));
        console.log(tableRow(rows.at(-1)!, peers));
      }
    }
  } finally {
    for (const program of programs) await program.stop();
  }
  console.log(`\n${tableSummary(rows)}`);
}

async function adapterRoofline(): Promise<Roofline> {
  using device = await Device.open();
  return await measureRoofline(device, { seconds: 1 });
}

/** Starts ours, the libraries on WebGPU, and PyTorch where Python has it. */
async function startPrograms(): Promise<PeerProgram[]> {
  const here = join(projectFolder, "bench", "peers"), theirs = join(here, "programs");
  const deno = (flags: readonly string[], script: string, cwd: string) =>
    PeerProgram.start({ command: Deno.execPath(), args: ["run", ...flags, script], cwd });
  const library = ["--check", "--frozen", "--no-prompt", "--allow-read", "--allow-env", "--allow-sys"];
  const programs = [await deno(setFlags("peer"), join(here, "dualora.ts"), projectFolder)];
  if (!without.includes("jax-js")) programs.push(await deno(library, join(theirs, "jax_js.ts"), theirs));
  if (!without.includes("tfjs")) programs.push(await deno(library, join(theirs, "tfjs.ts"), theirs));
  if (without.includes("torch")) return programs;
  if (await hasPyTorch(options.python)) {
    const args = [join(theirs, "torch_ops.py"), `--threads=${options.threads}`];
    programs.push(await PeerProgram.start({ command: options.python, args, cwd: theirs }));
  } else {
    console.error(`Without PyTorch: ${options.python} has none. A Python that has it: --python=PATH`);
  }
  return programs;
}

async function hasPyTorch(python: string): Promise<boolean> {
  try {
    return (await new Deno.Command(python, { args: ["-c", "import torch"], stderr: "null" }).output()).success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function lineOf({ peer, version, adapter }: Hello, op: Op, pass: Pass, outcome: Outcome, roofline: Roofline): Line {
  const start = { peer, op: op.op, shape: op.shape, pass, dtype: "f32" }, end = { adapter, version };
  if ("skipped" in outcome) return { ...start, skipped: outcome.skipped, ...end };
  const { check, timing: { medianMs, minMs, cpuMs, batches, runsPerBatch } } = outcome;
  const operations = nominalOperations(op, pass), comparedBy = roofline.cpu ? "cpu_ms" : "ms_median";
  // PyTorch's arithmetic is not the adapter's.
  const share = adapter === roofline.adapter
    ? shareOfPeak(roofline.cpu ? roofline.byCpu : roofline.byClock, {
      operations: operations ?? 0,
      bytes: nominalBytes(op, pass),
      ms: roofline.cpu ? cpuMs : medianMs,
    })
    : {};
  return {
    ...start,
    ms_median: medianMs,
    ms_min: minMs,
    cpu_ms: cpuMs,
    runs: batches,
    batch: runsPerBatch,
    gflops: operations && operations / medianMs / 1e6,
    check,
    compared_by: comparedBy,
    ...share,
    ...end,
  };
}

async function keep(lines: readonly Line[]): Promise<void> {
  if (options.out !== undefined) await appendFile(options.out, lines.map((line) => `${lineText(line)}\n`).join(""));
}

/** The table of lines that were kept, in the order of the list; of lines of the same pass of the same op and peer the last. */
async function printKept(files: readonly string[]): Promise<void> {
  const texts = await Promise.all(files.map((file) => readFile(file, "utf8")));
  const lines: Line[] = texts.flatMap((text) => text.split("\n").filter(Boolean).map((line) => JSON.parse(line)));
  const ops = lines.filter(({ peer }) => peer !== undefined),
    peers = [...new Set(ops.map(({ peer }) => peer as string))];
  const order = (await readOps()).flatMap(({ op, shape }) => passes.map((pass) => `${op} ${shape} ${pass}`));
  const rows = Object.entries(Object.groupBy(ops, ({ op, shape, pass }) => `${op} ${shape} ${pass}`))
    .toSorted(([one], [other]) => order.indexOf(one) - order.indexOf(other))
    .map(([_, group]) => compareLines(group!));
  console.log(tableHead(peers));
  for (const row of rows) console.log(tableRow(row, peers));
  console.log(`\n${tableSummary(rows)}`);
}
