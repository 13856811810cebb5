import { deepEqual, equal, match, ok } from "node:assert/strict";
import { mkdir, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { removeLeftovers } from "../../formats/atomic_folder.ts";
import { UnfinishedWork } from "../../pipeline/unfinished_work.ts";
import { CheckpointFolder, readState, writeState } from "../../steps/outputs/state_folder.ts";
import { startScript } from "../examples/run_example.ts";
import { RandomStream } from "../../random/philox.ts";
import { inNewFolder } from "./small_training.ts";

const random = new RandomStream({ seed: 41, stream: 1, step: 0, item: 0 });
const wait = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** Writes checkpoints and two states of changing names for ever; each holds its step in every number. */
const writer = `
import { join } from "node:path";
import { removeAtomically } from "${new URL("../../formats/atomic_folder.ts", import.meta.url).href}";
import { CheckpointFolder, writeState } from "${new URL("../../steps/outputs/state_folder.ts", import.meta.url).href}";
const [work, out] = ["work", "out"], checkpoints = new CheckpointFolder(work, console.error);
const facts = { networks: [], settings: {} };
for (let step = ((await checkpoints.newest())?.content.state.step ?? 0) + 1;; step++) {
  const weights = new Float32Array(200_000).fill(step), optimizer = { m: weights, clock: new Uint32Array([step]) };
  const state = { step, skipped: { total: 0, inRow: 0 }, networks: [{ weights, optimizer }] };
  const content = { state, log: [{ step, epoch: 0, values: { loss_1: step } }] };
  await writeState(join(out, \`mine-\${step}-state\`), { content, facts });
  await removeAtomically(join(out, \`mine-\${step - 2}-state\`));
  await writeState(join(out, "mine-state"), { content, facts });
  await checkpoints.write({ content, facts });
}
`;

Deno.test("a process that is killed while it writes and removes states never leaves a broken one", () =>
  inNewFolder(async (folder) => {
    const [work, out, script] = ["work", "out", "writer.ts"].map((name) => join(folder, name));
    await mkdir(work);
    await mkdir(out);
    await writeFile(script, writer);
    const damage: string[] = [];
    let newest = 0;
    for (let kill = 0; kill < 8; kill++) {
      const child = startScript(script, folder), output = child.output();
      const begun = newest + 1;
      // Once it works: anywhere in the hundredths of a second that a round takes.
      while (!(await stat(join(work, `checkpoint-${`${begun}`.padStart(8, "0")}`)).catch(() => null))) {
        if (await Promise.race([child.status, wait(5)])) {
          throw new Error(new TextDecoder().decode((await output).stderr));
        }
      }
      await wait(random.nextFloat() * 60);
      child.kill("SIGKILL");
      await output;
      const found = await new CheckpointFolder(work, (message) => damage.push(message)).newest();
      ok(found !== null && found.content.state.step >= begun, `after kill ${kill}: ${found?.content.state.step}`);
      newest = found.content.state.step;
      // One that was just being replaced has its name back.
      await removeLeftovers(out, (name) => name === "mine-state");
      ok((await readdir(out)).includes("mine-state"), `after kill ${kill}: no mine-state`);
      for (const name of (await readdir(out)).filter((name) => name.startsWith("mine"))) {
        const { content: { state, log } } = await readState(join(out, name)),
          { weights, optimizer } = state.networks[0];
        ok([weights, optimizer.m].every((each) => each.length === 200_000 && each.every((x) => x === state.step)));
        deepEqual([[...optimizer.clock], log.length], [[state.step], 1]);
      }
    }
    deepEqual(damage, []);
  }));

/** Begins a step with one of two settings in turn, for ever; its work is how often it was begun with them, which is told. */
const settingsChanger = `
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UnfinishedWork } from "${new URL("../../pipeline/unfinished_work.ts", import.meta.url).href}";
const unfinished = new UnfinishedWork("step"), counts = [0, 0];
for (let at = 0;; at = 1 - at) {
  const inputs = { step: "a", version: "1", options: { at }, fingerprint: null, needs: {}, gives: [], stored: true };
  const { resumes } = await unfinished.begin(inputs, inputs.options), file = join(unfinished.folder, "count.json");
  const found = resumes ? JSON.parse(readFileSync(file, "utf8")) : { at, count: 0 };
  if (found.at !== at || found.count < counts[at]) throw new Error(JSON.stringify({ found, at, counts }));
  counts[at] = found.count + 1;
  writeFileSync("count.new", JSON.stringify({ at, count: counts[at] }));
  renameSync("count.new", file);
  console.log(JSON.stringify(counts));
}
`;

Deno.test("a process that is killed while it changes between two settings loses the unfinished work of neither", () =>
  inNewFolder(async (folder) => {
    const script = join(folder, "changer.ts");
    await writeFile(script, settingsChanger);
    let least = [0, 0];
    // On a busy machine a process may be killed before it has got far: then there are more kills.
    for (let kill = 0; kill < 5 || (kill < 40 && Math.min(...least) <= 5); kill++) {
      const child = startScript(script, folder);
      const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
      // Once it works, anywhere in what it does between two lines.
      let output = (await reader.read()).value ?? "";
      setTimeout(() => child.kill("SIGKILL"), 20 + random.nextFloat() * 20);
      for (let read = await reader.read(); !read.done; read = await reader.read()) output += read.value;
      const [stderr] = await Promise.all([new Response(child.stderr).text(), child.status]);
      equal(stderr.replaceAll(/.*experimental.*\n/g, ""), "");
      const told = output.split("\n").filter((line) => line.endsWith("]")).map((line) => JSON.parse(line));
      // The last line may have been cut off, and the last write may not have been told.
      least = told.at(-1) ?? least;
      for (const at of [0, 1]) {
        const inputs = {
          step: "a",
          version: "1",
          options: { at },
          fingerprint: null,
          needs: {},
          gives: [],
          stored: true,
        };
        const { resumes } = await new UnfinishedWork(join(folder, "step")).begin(inputs, inputs.options);
        ok(resumes || least[at] === 0);
        const { count } = !resumes
          ? { count: 0 }
          : JSON.parse(await readFile(join(folder, "step", "work", "count.json"), "utf8"));
        ok(count >= least[at], `kill ${kill}: ${count} of ${least}`);
      }
    }
    ok(Math.min(...least) > 5, `${least}`);
  }));

Deno.test("of damaged checkpoints each is told by name, and the newest whole one counts", () =>
  inNewFolder(async (folder) => {
    const damage: string[] = [], checkpoints = new CheckpointFolder(folder, (message) => damage.push(message));
    const write = (step: number) =>
      writeState(join(folder, `checkpoint-${`${step}`.padStart(8, "0")}`), {
        content: {
          state: { step, skipped: { total: 0, inRow: 0 }, networks: [{ weights: new Float32Array(9), optimizer: {} }] },
          log: [],
        },
        facts: { networks: [], settings: {} },
      });
    for (const step of [1, 2, 3, 4, 5]) await write(step);
    const path = (step: number, file: string) => join(folder, `checkpoint-0000000${step}`, file);
    await truncate(path(2, "manifest.json"), 20);
    await truncate(path(3, "log.json"), 1);
    await rm(path(4, "state.safetensors"));
    await truncate(path(5, "state.safetensors"), 90);
    equal((await checkpoints.newest())?.content.state.step, 1);
    const told = ["5: state.safetensors is", "4: state.safetensors cannot", "3: log.json is", "2: .*manifest.json is"];
    for (const [at, problem] of told.entries()) {
      match(damage[at], new RegExp(`checkpoint-0000000${problem} .*passed over$`));
    }
    await truncate(path(1, "state.safetensors"), 0);
    equal(await checkpoints.newest(), null);
    // Begun anew it has not come to the step of the damaged ones yet.
    const content = {
      state: { step: 3, skipped: { total: 0, inRow: 0 }, networks: [{ weights: new Float32Array(9), optimizer: {} }] },
      log: [],
    };
    await checkpoints.write({ content, facts: { networks: [], settings: {} } });
    equal((await checkpoints.newest())?.content.state.step, 3);
  }));
