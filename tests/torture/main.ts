/**
 * Kills small runs at random moments, 100 times in all: `deno task torture [--kills=25] [--seed=1]`. The variants take turns; every ten kills a run is let go
 * on to its end and compared with one that never stopped. Prints into what the kills fell; exit code 1 if anything differs.
 *
 * @module
 */
import { join } from "node:path";
import { countOf, taskCommand } from "../../cli/task_command.ts";
import { inNewFolder } from "../steps/small_training.ts";
import { torture, wholeRun } from "./torture.ts";

const { kills, seed } = taskCommand("deno task torture", "Kills small runs at random moments, and compares their ends.")
  .option("--kills <count>", "kills in all", countOf, 100)
  .option("--seed <number>", "chooses the moments", countOf, 1)
  .parse(Deno.args, { from: "user" }).opts();
const perRun = 10, started = performance.now();
await inNewFolder(async (folder) => {
  const both = await wholeRun(join(folder, "both"), "both");
  const wholes = [
    both,
    await wholeRun(join(folder, "chain"), "chain"),
    await wholeRun(join(folder, "resumed"), "resumed", both),
  ];
  const phases = new Map<string, number>(), steps: number[] = [];
  let cutLogs = 0;
  for (let done = 0, run = 0; done < kills; done += perRun, run++) {
    const whole = wholes[run % wholes.length];
    const result = await torture(folder, whole, Math.min(perRun, kills - done), seed * 1000 + run);
    for (const phase of result.phases) phases.set(phase, (phases.get(phase) ?? 0) + 1);
    steps.push(...result.steps);
    cutLogs += result.cutLogs;
    console.log(
      `${steps.length} kills, ${whole.variant}: ${
        result.phases.map((phase, i) => `${phase} (${result.steps[i]})`).join(", ")
      }`,
    );
  }
  console.log(
    `${kills} kills, seed ${seed}: the same end each time; logs cut off: ${cutLogs}; ` +
      `${((performance.now() - started) / 1000).toFixed(0)} s`,
  );
  for (const [phase, count] of [...phases].sort(([, a], [, b]) => b - a)) {
    console.log(`${`${count}`.padStart(4)} ${phase}`);
  }
});
