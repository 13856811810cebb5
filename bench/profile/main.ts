/**
 * Runs a recipe and shows where its programs' time went: `deno task profile [--replay] examples/demo.ts --quick`.
 *
 * Prints a table for each program, longest first, and writes `out/profile/profile.html` (flame graphs) and `profile.json`. A program is timed in its
 * third, fourth and fifth run, by timestamps; where the adapter has none, and with `--replay`, its dispatches are run again after the recipe, as often as
 * the clock needs. What an earlier run of the recipe has made is not made again, and so not timed.
 *
 * @module
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Device, Profiler, type ProgramTimes } from "../../engine/mod.ts";
import { taskCommand } from "../../cli/task_command.ts";
import { measureRoofline, type Roofline, rooflineText } from "../roofline.ts";
import { flameGraphHtml } from "./flame_graph.ts";
import { profileOf, profileText } from "./profile.ts";
import { type KnownTimes, replayTimes } from "./replay.ts";

const folder = join("out", "profile"), shown = 4;
const { replay: replayWanted, recipe } = readWords();
const { roofline, canTime } = await adapter(), timestamps = canTime && !replayWanted;
const profiler = new Profiler({ skip: 2, runs: 3, timestamps });
profiler.start();
await import(pathToFileURL(resolve(recipe)).href);
const times = await profiler.stop(),
  total = ({ milliseconds, runs }: { milliseconds: number; runs: number }) => milliseconds * runs;
const profiles = (timestamps ? times : await replayed(times)).map((each) => profileOf(each, roofline.byClock))
  .toSorted((a, b) => total(b) - total(a));
if (profiles.length === 0) {
  console.error(
    `Nothing was timed: no program of ${recipe} ran three times. Was all of it made before? Then delete its run folder`,
  );
  Deno.exit(1);
}
console.log(`\n${rooflineText(roofline)}`);
for (const profile of profiles.slice(0, shown)) console.log(`\n${profileText(profile)}`);
if (profiles.length > shown) console.log(`\n${profiles.length - shown} shorter programs are in the files`);
await mkdir(folder, { recursive: true });
await writeFile(join(folder, "profile.html"), flameGraphHtml(`Profile of ${recipe}`, roofline.adapter, profiles));
await writeFile(
  join(folder, "profile.json"),
  JSON.stringify(
    { recipe, roofline, timedBy: timestamps ? "timestamps" : "replay", programs: profiles },
    (_, value) => value instanceof Map ? [...value.values()] : value,
  ),
);
console.log(`\nFlame graphs: ${join(folder, "profile.html")}`);

/** Reads the words up to the recipe. The recipe finds what it would find by itself: what stands behind it, and its own path, by which it may be run again. */
function readWords(): { replay: boolean; recipe: string } {
  const command = taskCommand("deno task profile", "Runs a recipe and shows where its programs' time went.")
    .argument("<recipe>", "a script, such as examples/demo.ts").argument("[words...]", "what the recipe takes")
    .option("--replay", "time the dispatches once more after the recipe, also where the adapter has timestamps")
    .passThroughOptions().parse(Deno.args, { from: "user" });
  const [recipe, words] = command.processedArgs, { replay = false } = command.opts();
  Object.defineProperties(Deno, { args: { value: words }, mainModule: { value: pathToFileURL(resolve(recipe)).href } });
  return { replay, recipe };
}

async function adapter(): Promise<{ roofline: Roofline; canTime: boolean }> {
  using device = await Device.open();
  return {
    roofline: await measureRoofline(device, { seconds: 1 }),
    canTime: device.gpu.features.has("timestamp-query"),
  };
}

async function replayed(times: readonly ProgramTimes[]): Promise<ProgramTimes[]> {
  const found: ProgramTimes[] = [], known: KnownTimes = new Map();
  for (const each of times) {
    console.error(`Replaying program ${found.length + 1} of ${times.length}, ${each.program.steps.length} steps`);
    found.push({ ...each, runs: 1, stepMs: await replayTimes(each.program, known) });
  }
  return found;
}
