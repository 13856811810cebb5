import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as d from "../../mod.ts";
import { RandomStream } from "../../random/philox.ts";
import { copyPictures } from "../steps/small_training.ts";
import { type Moment, type Phase, smallRun } from "./kill.ts";
import { checkPublished } from "./published.ts";
import { checkSameEnd } from "./same_end.ts";
import type { Variant } from "./small_run.ts";

/** What became of a run that was killed again and again. */
export interface Tortured {
  readonly phases: readonly Phase[];
  /** Steps that were done when it was killed. */
  readonly steps: readonly number[];
  /** Logs whose last line was cut off. */
  readonly cutLogs: number;
}

/** A small run that never stopped. */
export interface WholeRun {
  readonly variant: Variant;
  readonly folder: string;
  /** The state that it went on from; null for none. */
  readonly state: string | null;
}

/** Makes a folder that a small run can be started in. */
export async function prepareFolder(folder: string, state: string | null): Promise<string> {
  await mkdir(folder);
  await copyPictures(d.toy.character, join(folder, "one"), 2);
  await copyPictures(d.toy.outfit, join(folder, "two"), 2);
  await writeFile(join(folder, "prompts.txt"), "a sks person, pink background --w 64 --h 64 --s 2 --l 3 --d 7\n");
  // Where the run itself replaces and removes states.
  if (state !== null) await cp(state, join(folder, "out", "mine-step00000004-state"), { recursive: true });
  return folder;
}

/** Runs a variant in a new folder to its end; `resumed` goes on from a state of step 4. */
export async function wholeRun(folder: string, variant: Variant, both?: WholeRun): Promise<WholeRun> {
  const state = both ? join(both.folder, "out", "mine-000002-state") : null;
  const { code, stderr } = await smallRun(await prepareFolder(folder, state), variant);
  if (code !== 0) throw new Error(`A run of ${variant} that nobody stopped ended with ${code}: ${stderr}`);
  return { variant, folder, state };
}

/** What a kill is aimed at: what comes before, and the most milliseconds behind that. */
const aims: readonly (Pick<Moment, "event" | "hidden"> & { readonly within: number })[] = [
  { within: 4000 },
  { event: /"cache latents".*"done":\d/, within: 40 },
  { hidden: /latents\/\./, within: 2 },
  { event: /"compiling"/, within: 1000 },
  { event: /"type":"figures"/, within: 25 },
  { event: /"unit":"steps"/, within: 60 },
  { hidden: /out\/\.(mine|other|first).*\.safetensors/, within: 2 },
  { hidden: /out\/\.tmp-mine.*-state/, within: 8 },
  { hidden: /work\/\.tmp-checkpoint/, within: 8 },
  { hidden: /\.tmp-del-/, within: 2 },
  { event: /mine-step\d+(04|08)-state/, within: 400 },
  { hidden: /sample\/\./, within: 2 },
  { hidden: /tfevents/, within: 2 },
  { event: /mine-state"/, within: 300 },
  { hidden: /product\.new|\/\.manifest/, within: 3 },
];

/** A moment of a seeded stream of random numbers. */
function randomMoment(random: RandomStream): Moment {
  const { within, ...aim } = aims[Math.floor(random.nextFloat() * aims.length)];
  return { ...aim, skip: Math.floor(random.nextFloat() * 4), milliseconds: Math.floor(random.nextFloat() * within) };
}

/**
 * Kills a run so many times at random moments, reads all that it has published after each, and lets it go on to the same end as a run that never stopped.
 *
 * @param whole That run.
 * @throws If a file is half-written, a start fails, or the end is another.
 */
export async function torture(folder: string, whole: WholeRun, kills: number, seed: number): Promise<Tortured> {
  const random = new RandomStream({ seed, stream: 41, step: 0, item: 0 }), { variant, state } = whole;
  const phases: Phase[] = [], steps: number[] = [];
  let cutLogs = 0, round = 0;
  const begin = () => prepareFolder(join(folder, `killed-${variant}-${seed}-${round++}`), state);
  let run = await begin();
  while (phases.length < kills) {
    const { phase, steps: done, stderr, code } = await smallRun(run, variant, randomMoment(random));
    if (phase === null) {
      if (code !== 0) throw new Error(`A start of ${variant} ended with ${code}: ${stderr}`);
      // Finished before the moment came: it is compared, and another one begins.
      await checkSameEnd(run, whole.folder);
      run = await begin();
      continue;
    }
    phases.push(phase);
    steps.push(done);
    cutLogs += (await checkPublished(run)).length;
  }
  const { code, stderr } = await smallRun(run, variant);
  if (code !== 0) throw new Error(`The last start of ${variant} ended with ${code}: ${stderr}`);
  await checkPublished(run);
  await checkSameEnd(run, whole.folder);
  return { phases, steps, cutLogs };
}
