/**
 * Runs a recipe and shows where its programs' time went: `deno task profile examples/demo.ts --quick`.
 *
 * Prints a table for each program, longest first, and writes `out/profile/profile.html` (flame graphs) and `profile.json`. A program is timed in its
 * third, fourth and fifth run. What an earlier run of the recipe has made is not made again, and so not timed.
 *
 * @module
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Device, Profiler } from "../../engine/mod.ts";
import { flameGraphHtml } from "./flame_graph.ts";
import { profileOf, profileText } from "./profile.ts";

const folder = join("out", "profile"), shown = 4;
const [recipe] = Deno.args;
if (!recipe || recipe.startsWith("-")) {
  console.error("Usage: deno task profile <recipe> [arguments of the recipe]");
  Deno.exit(2);
}
const { name, canTime } = await adapter();
if (!canTime) {
  console.error(`Cannot profile: ${name} has no timestamp-query, which times single dispatches`);
  Deno.exit(2);
}
const profiler = new Profiler({ skip: 2, runs: 3 });
profiler.start();
await import(pathToFileURL(resolve(recipe)).href);
const profiles = (await profiler.stop()).map(profileOf);
if (profiles.length === 0) {
  console.error(
    `Nothing was timed: no program of ${recipe} ran three times. Was all of it made before? Then delete its run folder`,
  );
  Deno.exit(1);
}
for (const profile of profiles.slice(0, shown)) console.log(`\n${profileText(profile)}`);
if (profiles.length > shown) console.log(`\n${profiles.length - shown} shorter programs are in the files`);
await mkdir(folder, { recursive: true });
await writeFile(join(folder, "profile.html"), flameGraphHtml(`Profile of ${recipe}`, name, profiles));
await writeFile(
  join(folder, "profile.json"),
  JSON.stringify(
    { recipe, adapter: name, programs: profiles },
    (_, value) => value instanceof Map ? [...value.values()] : value,
  ),
);
console.log(`\nFlame graphs: ${join(folder, "profile.html")}`);

async function adapter(): Promise<{ name: string; canTime: boolean }> {
  using device = await Device.open();
  return { name: device.facts.name, canTime: device.gpu.features.has("timestamp-query") };
}
