/**
 * A sweep on a real Slurm, which is set up for this host alone: `deno task test:slurm`. Of an array of three runs the first is told with SIGUSR2 that its time is up, as
 * `--signal=B:USR2@120` does, the second is taken off and queued again, as preemption does, and the third is cancelled: it must not come back, and the same sweep without
 * Slurm ends it. All have to be, bit by bit, what runs are that nothing disturbed.
 * Exit code 1 if anything differs, 2 where Slurm is missing.
 *
 * @module
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { taskCommand } from "../../cli/task_command.ts";
import { commandWords } from "../../cli/sweep/run_one.ts";
import { readLora } from "../../formats/lora_file.ts";
import * as d from "../../mod.ts";
import { copyPictures, inNewFolder } from "../steps/small_training.ts";
import { NoSlurmError, OneHostSlurm, waitFor } from "./one_host_slurm.ts";

const names = ["seed-1", "seed-2", "seed-3"];

const sweep = `output_dir = "out"
seeds = "1-3"

[settings]
pretrained_model_name_or_path = "toy"
train_data_dir = "pictures"
caption_extension = ".txt"
resolution = 64
max_train_steps = 120
checkpoint_every_n_steps = 20
learning_rate = 1e-3
network_train_unet_only = true

[slurm]
time = "00:10:00"
limit = 1
`;

async function dualora(folder: string, env: Record<string, string>, ...words: string[]): Promise<string> {
  const [deno, ...args] = commandWords(...words);
  const { code, stdout, stderr } = await new Deno.Command(deno, { args, cwd: folder, env }).output();
  const [printed, said] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  equal(code, 0, printed + said);
  return printed;
}

/** What a run ended with: the network's weights, and the log of all its steps. */
async function endOf(folder: string) {
  const { modules } = await readLora(join(folder, "last.safetensors"));
  const { runs } = JSON.parse(await readFile(join(folder, "../../results.json"), "utf8"));
  const { figures, steps } = runs.find(({ name }: { name: string }) => folder.endsWith(name));
  return { modules, figures, steps };
}

async function checkSweep(folder: string): Promise<void> {
  await using slurm = await OneHostSlurm.start(join(folder, "slurm"));
  const { env } = slurm,
    work = join(folder, "work"),
    output = (id: string, task: number) => join(work, "out/slurm", `${id}_${task}.txt`);
  await copyPictures(d.toy.character, join(work, "pictures"), 4);
  await writeFile(join(work, "sweep.toml"), sweep);
  match(
    await dualora(work, env, "sweep", "sweep.toml"),
    /^3 runs are ready for Slurm;.*\n\n {2}sbatch out\/sweep\.sbatch\n/,
  );
  const submitted = await slurm.call("sbatch", "--parsable", "--chdir", work, join(work, "out/sweep.sbatch"));
  const id = submitted.trim();
  console.log(`array ${id} of 3 runs is submitted`);

  const codesOf = async (name: string) => {
    const found = JSON.parse(await readFile(join(work, "out/runs", name, "attempts.json"), "utf8"));
    return found.map(({ code }: { code?: number }) => code ?? null);
  };
  const training = (task: number) =>
    waitFor(`training of ${names[task]}`, 60, async () => {
      if (!existsSync(output(id, task))) return false;
      const printed = await readFile(output(id, task), "utf8");
      ok(!/network 1: done in/.test(printed), `${names[task]} was too fast to be stopped`);
      return printed.includes("pretrain network 1: made");
    });
  const running = async () => (await slurm.call("squeue", "-h", "-t", "R", "-o", "%A")).trim();
  await training(0);
  // The scancel of 22.05 says that the job cannot be altered, and repeats the signal, though the first one has arrived.
  const telling = slurm.begin("scancel", "--signal=USR2", "--batch", await running());
  await waitFor("the first run's end", 60, async () => (await codesOf(names[0]))[0] === 75);
  await telling.end();
  console.log("the first run was told by SIGUSR2 while it trained");
  await training(1);
  await slurm.call("scontrol", "requeue", `${id}_1`);
  console.log("the second run was taken off and queued again while it trained");
  await training(2);
  await slurm.call("scancel", `${id}_2`);
  console.log("the third run was cancelled while it trained");
  await waitFor("the end of the queue", 180, async () => (await slurm.call("squeue", "-h")).trim() === "");

  const codes = () => Promise.all(names.map(codesOf));
  console.log(`exit codes: ${JSON.stringify(await codes())}`);
  deepEqual(await codes(), [[75, 0], [75, 0], [75]]);
  for (const task of [0, 1]) match(await readFile(output(id, task), "utf8"), /pretrain network 1: goes on/);
  const table = await dualora(work, env, "sweep", "gather", "out");
  match(table, /seed-1 +done .*\nseed-2 +done .*\nseed-3 +stopped /);
  const ended = await dualora(work, env, "sweep", "sweep.toml", "--local");
  match(ended, /^run 1 of 1: seed-3\n[^]*pretrain network 1: goes on[^]*seed-3 +done /);
  deepEqual(await codes(), [[75, 0], [75, 0], [75, 0]]);
  console.log("the same sweep without Slurm ended the third");

  await dualora(work, env, "sweep", "sweep.toml", "--local", "--output_dir=undisturbed");
  for (const name of names) {
    const [one, other] = await Promise.all(["out", "undisturbed"].map((each) => endOf(join(work, each, "runs", name))));
    equal(one.steps, 120);
    deepEqual(one, other, `${name} ended differently`);
  }
  console.log("all three are bit by bit what runs are that nothing disturbed: weights, losses, steps");
}

taskCommand("deno task test:slurm", "Runs a sweep on a real Slurm, which is set up for this host alone.")
  .parse(Deno.args, { from: "user" });
try {
  await inNewFolder(checkSweep);
} catch (error) {
  if (!(error instanceof NoSlurmError)) throw error;
  console.error(error.message);
  Deno.exit(2);
}
