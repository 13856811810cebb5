/**
 * Sweeps on a real Slurm, which is set up for this host alone: `deno task test:slurm [array|preemption|time|setup]`, all of them when left out. Tasks are told that
 * their time is up, by SIGUSR2 and by Slurm itself; taken off by hand and by a job of higher priority; cancelled; told before their run has begun. All of them have to end
 * as runs do that nothing disturbed, bit by bit. Exit code 1 if anything differs, 2 where Slurm is missing.
 *
 * @module
 */
import { Argument } from "@commander-js/extra-typings";
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { taskCommand } from "../../cli/task_command.ts";
import { inNewFolder } from "../steps/small_training.ts";
import { NoSlurmError, OneHostSlurm, waitFor } from "./one_host_slurm.ts";
import { SubmittedSweep } from "./submitted_sweep.ts";

/** Of an array of three, one is told by SIGUSR2, one taken off and queued again by hand, and one cancelled, which must not come back and which the same sweep without Slurm ends. */
async function array(slurm: OneHostSlurm, work: string): Promise<void> {
  const sweep = await SubmittedSweep.submit(slurm, work, {
    seeds: '"1-3"',
    steps: 120,
    slurm: ['time = "00:10:00"', "limit = 1"],
  });
  await sweep.training(0);
  await tell(slurm, async () => (await sweep.codesOf(1))[0] === 75);
  say("the first run was told by SIGUSR2 while it trained");
  await sweep.training(1);
  await slurm.call("scontrol", "requeue", `${sweep.id}_1`);
  say("the second run was taken off and queued again while it trained");
  await sweep.training(2);
  await slurm.call("scancel", `${sweep.id}_2`);
  say("the third run was cancelled while it trained");
  await sweep.ended(180);

  const codes = () => Promise.all([1, 2, 3].map((seed) => sweep.codesOf(seed)));
  say(`exit codes: ${JSON.stringify(await codes())}`);
  deepEqual(await codes(), [[75, 0], [75, 0], [75]]);
  for (const task of [0, 1]) match(await sweep.printed(task), /pretrain network 1: goes on/);
  const table = await sweep.dualora("sweep", "gather", "out");
  match(table, /seed-1 +done .*\nseed-2 +done .*\nseed-3 +stopped /);
  const ended = await sweep.dualora("sweep", "sweep.toml", "--local");
  match(ended, /^run 1 of 1: seed-3\n[^]*pretrain network 1: goes on[^]*seed-3 +done /);
  deepEqual(await codes(), [[75, 0], [75, 0], [75, 0]]);
  say("the same sweep without Slurm ended the third");
  await sweep.checkEnds([1, 2, 3]);
}

/** A job in a partition of higher priority takes a training task off the node; Slurm itself queues it again. */
async function preemption(slurm: OneHostSlurm, work: string): Promise<void> {
  const sweep = await SubmittedSweep.submit(slurm, work, { seeds: "[4]", steps: 120, slurm: ['time = "00:10:00"'] });
  await sweep.training(0);
  const urgent = await slurm.call("sbatch", "--parsable", "--partition=urgent", "--chdir", work, "--wrap=sleep 2");
  await waitFor(
    "the urgent job's turn",
    60,
    async () => (await slurm.call("scontrol", "show", "job", urgent.trim())).includes("JobState=COMPLETED"),
  );
  say("a job of higher priority has taken the run's place, and ended");
  await sweep.ended(120);
  match(await readFile(join(slurm.folder, "slurmctld.log"), "utf8"), /preempted JobId=.* has been requeued/);
  say(`exit codes: ${JSON.stringify(await sweep.codesOf(4))}`);
  deepEqual(await sweep.codesOf(4), [75, 0]);
  match(await sweep.printed(0), /pretrain network 1: goes on/);
  await sweep.checkEnds([4]);
}

/** A run that takes longer than its time: Slurm tells it before the limit, by `--signal`, and it goes on in another turn. */
async function time(slurm: OneHostSlurm, work: string): Promise<void> {
  // Slurm looks every half minute, and tells a task up to a minute early: of three minutes, the first has to be in the middle of the training.
  const sweep = await SubmittedSweep.submit(slurm, work, { seeds: "[5]", steps: 1500, slurm: ['time = "00:03:00"'] });
  await sweep.training(0);
  const started = performance.now();
  await waitFor("Slurm's own signal", 180, async () => (await sweep.codesOf(5))[0] === 75);
  say(
    `Slurm told the run after ${((performance.now() - started) / 1000).toFixed(0)} s of training that its time is up`,
  );
  await sweep.ended(600);
  const codes = await sweep.codesOf(5);
  say(`exit codes: ${JSON.stringify(codes)}`);
  ok(codes.length > 1 && codes.slice(0, -1).every((code) => code === 75), "a turn ended otherwise");
  equal(codes.at(-1), 0);
  match(await sweep.printed(0), /pretrain network 1: goes on/);
  await sweep.checkEnds([5]);
}

/** A task that is told while its `setup` is at work begins no run, and is queued again. */
async function setup(slurm: OneHostSlurm, work: string): Promise<void> {
  const waiting = '[ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] || { echo setup; sleep 5; }';
  const sweep = await SubmittedSweep.submit(slurm, work, {
    seeds: "[6]",
    steps: 20,
    slurm: ['time = "00:10:00"', `setup = [${JSON.stringify(waiting)}]`],
  });
  await waitFor("the setup", 60, async () => (await sweep.printed(0)).includes("setup"));
  await tell(slurm, async () => !(await running(slurm)));
  deepEqual(await sweep.codesOf(6), []);
  say("a task was told while its setup was at work, and has begun no run");
  await sweep.ended(120);
  deepEqual(await sweep.codesOf(6), [0]);
  await sweep.checkEnds([6]);
}

async function running(slurm: OneHostSlurm): Promise<string> {
  return (await slurm.call("squeue", "-h", "-t", "R", "-o", "%A")).trim();
}

/** Sends SIGUSR2 to the batch script of the task at work, and waits for what follows. */
async function tell(slurm: OneHostSlurm, follows: () => Promise<boolean>): Promise<void> {
  // The scancel of 22.05 says that the job cannot be altered, and repeats the signal, though the first one has arrived.
  const telling = slurm.begin("scancel", "--signal=USR2", "--batch", await running(slurm));
  await waitFor("what follows the signal", 60, follows);
  await telling.end();
}

function say(text: string): void {
  console.log(`  ${text}`);
}

const scenarios = { array, preemption, time, setup };
const asked = new Argument("[scenario...]", "all when left out").choices(Object.keys(scenarios));
const [chosen] =
  taskCommand("deno task test:slurm", "Runs sweeps on a real Slurm, which is set up for this host alone.")
    .addArgument(asked).parse(Deno.args, { from: "user" }).processedArgs;
try {
  await inNewFolder(async (folder) => {
    await using slurm = await OneHostSlurm.start(join(folder, "slurm"));
    for (const [name, check] of Object.entries(scenarios)) {
      if (chosen.length > 0 && !chosen.includes(name)) continue;
      console.log(name);
      await check(slurm, join(folder, name));
      say("bit by bit what runs are that nothing disturbed: weights, losses, steps");
    }
  });
} catch (error) {
  if (!(error instanceof NoSlurmError)) throw error;
  console.error(error.message);
  Deno.exit(2);
}
