import { deepEqual, equal, match, ok } from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { commandWords } from "../../cli/sweep/run_one.ts";
import { gatherSweep } from "../../cli/sweep/gather.ts";
import { readLora } from "../../formats/lora_file.ts";
import * as d from "../../mod.ts";
import { copyPictures } from "../steps/small_training.ts";
import { type OneHostSlurm, waitFor } from "./one_host_slurm.ts";

/** What a sweep here trains, beside its seeds. */
export interface SmallSweep {
  readonly seeds: string;
  readonly steps: number;
  /** Lines of `[slurm]`. */
  readonly slurm: readonly string[];
}

/** A sweep in a working folder of its own, submitted to Slurm. */
export class SubmittedSweep {
  private constructor(
    private readonly slurm: OneHostSlurm,
    private readonly work: string,
    private readonly steps: number,
    /** Slurm's number of the array. */
    readonly id: string,
  ) {}

  /** Writes a sweep and its pictures into a new folder, and submits it as the program says. */
  static async submit(slurm: OneHostSlurm, work: string, { seeds, steps, slurm: lines }: SmallSweep) {
    await mkdir(work);
    await copyPictures(d.toy.character, join(work, "pictures"), 4);
    await writeFile(join(work, "sweep.toml"), sweepText(seeds, steps, lines));
    const said = await dualora(work, slurm.env, "sweep", "sweep.toml");
    match(said, /^\d+ runs? (is|are) ready for Slurm;.*\n\n {2}sbatch out\/sweep\.sbatch\n/);
    const submitted = await slurm.call("sbatch", "--parsable", "--chdir", work, join(work, "out/sweep.sbatch"));
    return new SubmittedSweep(slurm, work, steps, submitted.trim());
  }

  /** Runs this program's command line in the sweep's folder. */
  dualora(...words: string[]): Promise<string> {
    return dualora(this.work, this.slurm.env, ...words);
  }

  /** What a task has printed so far; empty before it begins. */
  async printed(task: number): Promise<string> {
    const path = join(this.work, "out/slurm", `${this.id}_${task}.txt`);
    return existsSync(path) ? await readFile(path, "utf8") : "";
  }

  /** Exit codes of all starts of a run; null for one that has none yet. */
  async codesOf(seed: number): Promise<(number | null)[]> {
    const path = join(this.work, `out/runs/seed-${seed}/attempts.json`);
    if (!existsSync(path)) return [];
    return JSON.parse(await readFile(path, "utf8")).map(({ code }: { code?: number }) => code ?? null);
  }

  /** Waits until a task has begun to train. */
  async training(task: number): Promise<void> {
    await waitFor(`task ${task} to train`, 120, async () => {
      const printed = await this.printed(task);
      ok(!/network 1: done in/.test(printed), `task ${task} was too fast to be stopped`);
      return printed.includes("pretrain network 1: made");
    });
  }

  /** Waits until nothing is in Slurm's queue any more. */
  async ended(seconds: number): Promise<void> {
    await waitFor("the end of the queue", seconds, async () => (await this.slurm.call("squeue", "-h")).trim() === "");
  }

  /** Trains the same once more without Slurm and undisturbed: weights, losses and steps have to be the same bits. */
  async checkEnds(seeds: readonly number[]): Promise<void> {
    await this.dualora("sweep", "sweep.toml", "--local", "--output_dir=undisturbed");
    for (const seed of seeds) {
      const [one, other] = await Promise.all(["out", "undisturbed"].map((each) => endOf(join(this.work, each), seed)));
      equal(one.steps, this.steps);
      deepEqual(one, other, `seed ${seed} ended differently`);
    }
  }
}

function sweepText(seeds: string, steps: number, slurm: readonly string[]): string {
  return [
    'output_dir = "out"',
    `seeds = ${seeds}`,
    "[settings]",
    'pretrained_model_name_or_path = "toy"',
    'train_data_dir = "pictures"',
    'caption_extension = ".txt"',
    "resolution = 64",
    `max_train_steps = ${steps}`,
    "checkpoint_every_n_steps = 20",
    "learning_rate = 1e-3",
    "network_train_unet_only = true",
    "[slurm]",
    ...slurm,
    "",
  ].join("\n");
}

async function dualora(folder: string, env: Record<string, string>, ...words: string[]): Promise<string> {
  const [deno, ...args] = commandWords(...words);
  const { code, stdout, stderr } = await new Deno.Command(deno, { args, cwd: folder, env }).output();
  const [printed, said] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  equal(code, 0, printed + said);
  return printed;
}

/** What a run ended with: the network's weights, and the log of all its steps. */
async function endOf(folder: string, seed: number) {
  const name = `seed-${seed}`, { modules } = await readLora(join(folder, "runs", name, "last.safetensors"));
  // A sweep that ended on Slurm alone was not gathered.
  const rows = await gatherSweep(folder), { figures, steps } = rows.find((row) => row.name === name)!;
  return { modules, figures, steps };
}
