/**
 * Finds out on a GPU all that is wanted of one, in the order of its worth and each piece in a process of its own:
 * `deno task bench:gpu [--out=out/gpu] [--minutes=9] [--only=kernels,sampling] [--python=python3] [--trial]`; of lines that were kept,
 * `deno task bench:gpu lines.jsonl …` prints the report. bench/gpu/README.md says more.
 *
 * @module
 */
import { appendFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { countOf, taskCommand } from "../../cli/task_command.ts";
import { adapterLimits, NoAdapterError } from "../../engine/mod.ts";
import { permissionFlags } from "../../tools/permissions.ts";
import { projectFolder } from "../../tools/project_files.ts";
import { type Line, lineText } from "../line.ts";
import { allPieces, type Piece } from "./pieces.ts";
import { pieceLine, reportOf } from "./report.ts";
import { type Run, runPiece } from "./run_piece.ts";
import { sizesOf } from "./sizes.ts";

const command = taskCommand("deno task bench:gpu", "Finds out on a GPU all that is wanted of one, and writes a report.")
  .argument("[files...]", "lines that were kept: prints their report, and measures nothing")
  .option("--out <folder>", "gets lines.jsonl, report.md, log.txt and flame graphs", "out/gpu")
  .option("--minutes <count>", "after which no piece begins, and the one that runs is ended", countOf, 9)
  .option("--only <names>", "pieces, with commas")
  .option("--python <path>", "Python with PyTorch and diffusers", "python3")
  .option("--trial", "small sizes, on a CPU adapter too, to see that all of it works")
  .parse(Deno.args, { from: "user" });
const options = command.opts(), [files] = command.processedArgs, trial = options.trial === true;
const out = resolve(options.out), sizes = sizesOf(trial), pieces = allPieces({ out, trial });
const chosen = choose();
if (files.length > 0) {
  const texts = await Promise.all(files.map((file) => readFile(file, "utf8")));
  const lines = texts.flatMap((text) => text.split("\n").filter(Boolean).map((line) => JSON.parse(line)));
  console.log(reportOf(lines, pieces, sizes));
} else {
  if (chosen.some(({ kind }) => kind === "deno" || kind === "test")) await checkAdapter();
  await runAll();
}

function stop(message: string): never {
  console.error(message);
  Deno.exit(2);
}

function choose(): readonly Piece[] {
  if (options.only === undefined) return pieces;
  const names = options.only.split(",");
  const unknown = names.find((name) => !pieces.some((piece) => piece.name === name));
  if (unknown !== undefined) {
    stop(`--only has ${unknown}, must be of ${pieces.map(({ name }) => name).join(", ")}, with commas`);
  }
  return pieces.filter(({ name }) => names.includes(name));
}

/** A CPU that stands in for a GPU would take hours, and say nothing of one. */
async function checkAdapter(): Promise<void> {
  try {
    const { name, cpu } = await adapterLimits();
    if (!cpu || trial) return;
    stop(
      `Cannot measure a GPU: the adapter is ${name}, a CPU, must be a graphics card. Is the card's Vulkan driver found? bench/gpu/README.md ` +
        "says what to look at. To try everything out in small sizes: --trial",
    );
  } catch (error) {
    if (!(error instanceof NoAdapterError)) throw error;
    stop(error.message);
  }
}

async function runAll(): Promise<void> {
  const started = performance.now(), end = started + 60_000 * options.minutes;
  await mkdir(out, { recursive: true });
  const lines: Line[] = [], path = (name: string) => join(out, name);
  // One after another, so that lines stay whole and in order.
  let written: Promise<void> = writeFile(path("lines.jsonl"), "").then(() => writeFile(path("log.txt"), ""));
  const append = (name: string, text: string) => {
    written = written.then(() => appendFile(path(name), `${text}\n`));
  };
  const keep = (line: Line) => {
    lines.push(line);
    append("lines.jsonl", lineText(line));
  };
  for (const piece of chosen) {
    const leftSeconds = (end - performance.now()) / 1000;
    append("log.txt", `== ${piece.name}`);
    console.error(`${piece.name}: ${piece.what}`);
    const ending = leftSeconds > 0
      ? await runPiece(await runOf(piece, leftSeconds), { onLine: keep, onText: (text) => append("log.txt", text) })
      : { state: "not begun", reason: `the ${options.minutes} minutes were over`, seconds: 0 };
    console.error(`  ${ending.state}${ending.reason && `, ${ending.reason}`}, ${ending.seconds.toFixed(0)} s`);
    keep(pieceLine(piece.name, ending.state, ending.reason, ending.seconds));
    await written;
    await writeFile(path("report.md"), reportOf(lines, pieces, sizes));
  }
  console.log(await readFile(path("report.md"), "utf8"));
}

/** How a piece is started, within the time that is left. */
async function runOf({ kind, words, seconds }: Piece, leftSeconds: number): Promise<Run> {
  const [script, ...args] = words, run = { cwd: projectFolder, seconds: Math.min(seconds, leftSeconds) };
  switch (kind) {
    case "program":
      return { ...run, command: script, args, prints: "text" };
    case "python":
      return { ...run, command: options.python, args: words, prints: "json" };
    case "deno":
      return {
        ...run,
        command: Deno.execPath(),
        args: ["run", ...await permissionFlags(script, args), ...words],
        prints: "json",
      };
    case "test": {
      const flags = ["--no-check", "--no-prompt", "--permission-set=test", "--allow-write=/tmp", "--reporter=tap"];
      return { ...run, command: Deno.execPath(), args: ["test", "--quiet", ...flags, ...words], prints: "tap" };
    }
  }
}
