/**
 * Times dual steps in dualora and in PyTorch with diffusers, in turn, and prints one table:
 * `deno task bench:dual [--only="toy 128px batch1 "] [--rounds=2] [--seconds=8] [--steps=5] [--python=python3] [--threads=1] [--out=lines.jsonl]`.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { countOf, secondsOf, taskCommand } from "../../cli/task_command.ts";
import { adapterLimits } from "../../engine/mod.ts";
import { projectFolder } from "../../tools/project_files.ts";
import { type DualStep, dualStepKey, dualSteps, measureDualStep } from "../dual_step.ts";
import { type Line, lineText } from "../line.ts";
import { dualTable } from "./dual_table.ts";

const options = taskCommand(
  "deno task bench:dual",
  "Times dual steps in dualora and in PyTorch with diffusers, in turn.",
)
  .option("--only <text>", "steps that have this in their shape", "toy 128px batch1 ")
  .option("--rounds <count>", "turns of both", countOf, 2)
  .option("--seconds <number>", "of each turn in dualora", secondsOf, 8)
  .option("--steps <count>", "of each turn in PyTorch", countOf, 5)
  .option("--python <path>", "Python with PyTorch and diffusers", "python3")
  .option("--threads <count>", "threads of PyTorch", countOf, 1)
  .option("--out <file>", "keeps the lines, behind those that are there")
  .parse(Deno.args, { from: "user" }).opts();
// PyTorch's program gives both networks pictures of one number.
const chosen = dualSteps.filter((step) =>
  step.batches[0] === step.batches[1] && dualStepKey(step).shape.includes(options.only)
);
if (chosen.length === 0) {
  console.error(`No dual step has "${options.only}" in its shape`);
  Deno.exit(2);
}
await adapterLimits();
for (const step of chosen) {
  const lines: Line[] = [];
  for (let round = 0; round < options.rounds; round++) {
    for (
      const line of [await measureDualStep(step, { seconds: options.seconds }), await measurePyTorch(step)]
    ) {
      lines.push(line);
      if (options.out !== undefined) await appendFile(options.out, `${lineText(line)}\n`);
    }
  }
  console.log(`${dualTable(lines)}\n`);
}

/** The step in PyTorch: the form with one backward, which is its best, on one base's weights. */
async function measurePyTorch({ base, pixels, rank, batches: [batch], mode, precision }: DualStep): Promise<Line> {
  const script = join(projectFolder, "bench", "peers", "programs", "torch_dual_step.py");
  const flags = {
    ...{ config: base, size: pixels, batch, rank, mode, backward: "clean" },
    ...{ precision: precision === "f16" ? "fp16" : "fp32", steps: options.steps, warmup: 1, threads: options.threads },
  };
  const args = [script, "--same-base", ...Object.entries(flags).map(([name, value]) => `--${name}=${value}`)];
  const child = spawn(options.python, args, { stdio: ["ignore", "pipe", "inherit"] });
  const exit = once(child, "exit"), printed = await text(child.stdout!), [code] = await exit;
  if (code !== 0) throw new Error(`Cannot measure PyTorch: ${options.python} ${script} ended with ${code}`);
  return JSON.parse(printed.trim().split("\n").at(-1)!);
}
