/**
 * Measures one dual step, then shows where its time goes: a JSON line for the step, one for the profile as a whole, and one for each op of it.
 *
 * @module
 */
import { writeFile } from "node:fs/promises";
import { secondsOf, taskCommand } from "../../cli/task_command.ts";
import { Device, Profiler } from "../../engine/mod.ts";
import { dualStepKey, prepareDualStep } from "../dual_step.ts";
import { lineText, type Measured, measureOn } from "../line.ts";
import { flameGraphHtml } from "../profile/flame_graph.ts";
import { profileOf, profileText } from "../profile/profile.ts";
import { measureRoofline } from "../roofline.ts";
import { profileLines } from "./profile_lines.ts";
import { sizesOf } from "./sizes.ts";

const options = taskCommand("dual_step", "Measures one dual step, then shows where its time goes.")
  .requiredOption("--mode <mode>", "both or frozen")
  .requiredOption("--html <file>", "flame graph")
  .option("--seconds <number>", "of steps that are timed", secondsOf, 12)
  .option("--trial", "small sizes")
  .parse(Deno.args, { from: "user" }).opts();
const step = sizesOf(options.trial === true).dualSteps[options.mode as "both" | "frozen"], key = dualStepKey(step);
/** The first does not count; as many are timed by timestamps, the others show the host's time. */
const profiledRuns = 10, timedRuns = 3;

/** A piece that is ended leaves at least how far it came. */
function sayTime(what: string): void {
  console.error(`${(performance.now() / 1000).toFixed(1)} s: ${what}`);
}

using device = await Device.open();
const roofline = await measureRoofline(device, { seconds: 1 });
let measured: Measured | undefined;
const line = await measureOn(device, key, { seconds: options.seconds }, async () => {
  const prepared = await prepareDualStep(device, step);
  sayTime("the weights are on their way");
  await prepared.run();
  await prepared.wait();
  sayTime("compiled, and one step done");
  return measured = prepared;
});
console.log(lineText(line));
sayTime("timed");
if (line.skipped !== undefined || measured === undefined) Deno.exit(1);

const timestamps = device.gpu.features.has("timestamp-query");
const profiler = new Profiler({ skip: 1, runs: timedRuns, timestamps });
profiler.start();
for (let run = 0; run < profiledRuns; run++) await measured.run();
await measured.wait();
const [times] = await profiler.stop();
const profile = profileOf(timestamps ? times : { ...times, runs: 1 }, roofline.byClock);
for (const each of profileLines(key, profile, { timestamps })) console.log(lineText(each));
console.error(profileText(profile));
if (timestamps) await writeFile(options.html, flameGraphHtml(`Dual step, ${key.shape}`, roofline.adapter, [profile]));
