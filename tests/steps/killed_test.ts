import { deepEqual, equal, ok } from "node:assert/strict";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CheckpointFolder, readState } from "../../steps/outputs/state_folder.ts";
import { runCommand, startCommand, startScript } from "../examples/run_example.ts";
import * as d from "../../mod.ts";
import { RandomStream } from "../../random/philox.ts";
import { copyPictures, inNewFolder } from "./small_training.ts";

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
      for (const name of (await readdir(out)).filter((name) => name.startsWith("mine"))) {
        const { content: { state, log } } = await readState(join(out, name)),
          { weights, optimizer } = state.networks[0];
        ok([weights, optimizer.m].every((each) => each.length === 200_000 && each.every((x) => x === state.step)));
        deepEqual([[...optimizer.clock], log.length], [[state.step], 1]);
      }
    }
    deepEqual(damage, []);
  }));

Deno.test("a training that is killed again and again ends with the same bits", () =>
  inNewFolder(async (folder) => {
    await copyPictures(d.toy.character, join(folder, "one"), 2);
    await copyPictures(d.toy.outfit, join(folder, "two"), 2);
    const line = (output: string) => [
      ...["train", "--pretrained_model_name_or_path=toy", "--train_data_dir=one", "--train_data_dir_2=two"],
      ...["--resolution=64", "--optimizer_type=AdamW", "--learning_rate=1e-3", "--network_dim=2", "--logging_dir="],
      ...["--max_train_steps=12", "--save_every_n_steps=1", "--save_last_n_steps=1", "--save_state"],
      ...["--checkpoint_every_n_steps=2", "--caption_extension=.txt", "--output_name=mine", `--output_dir=${output}`],
    ];
    equal((await runCommand(line("whole"), folder)).code, 0);
    const saved = (step: number) => join(folder, "killed", `mine-step${`${step}`.padStart(8, "0")}-state`);
    for (const step of [2, 5, 8]) {
      const child = startCommand(line("killed"), folder), output = child.output();
      while (!(await stat(saved(step)).catch(() => null))) {
        if (await Promise.race([child.status, wait(5)])) {
          throw new Error(new TextDecoder().decode((await output).stderr));
        }
      }
      await wait(random.nextFloat() * 200);
      child.kill("SIGKILL");
      await output;
    }
    const last = await runCommand(line("killed"), folder);
    equal(last.code, 0, last.stdout + last.stderr);
    for (const file of ["state.safetensors", "log.json"]) {
      const [one, two] = await Promise.all(
        ["whole", "killed"].map((run) => readFile(join(folder, run, "mine-state", file))),
      );
      ok(one.equals(two), `${file} differs`);
    }
    const names = async (run: string) =>
      (await readdir(join(folder, run))).filter((name) => !name.endsWith("_run")).sort();
    deepEqual(await names("killed"), await names("whole"));
  }));
