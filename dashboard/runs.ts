import { createHash } from "node:crypto";
import { readdir, realpath, stat } from "node:fs/promises";
import { basename, join, relative, sep } from "node:path";
import { writeFileAtomically } from "../formats/atomic_file.ts";
import { type ControlFile, controlName, isRunning, journalName, lockName, type Wish } from "../pipeline/mod.ts";
import { JournalReader } from "./journal_reader.ts";
import { isOutOfReach, readJson, readPastRun } from "./past_run.ts";
import type { Curves, RunDetail, RunState, RunStory, RunSummary } from "./run_view.ts";

/** Folders within folders that are looked into. */
const deepest = 6;
/** Milliseconds after which folders are looked for anew. */
const folderEveryMs = 3000;

/** A wish cannot be passed on to a run now. */
export class WishRefused extends Error {
  override readonly name = "WishRefused";
}

/** A run folder that is watched. */
interface Watched {
  readonly id: string;
  readonly name: string;
  readonly folder: string;
  /** Null in a folder without a journal. */
  readonly reader: JournalReader | null;
  story: RunStory;
  state: RunState;
  asked: string | null;
}

/**
 * All runs in a folder and the folders inside of it. Whoever asks names a run by its id, from the list, and a picture by its number: paths come from what lies
 * on the disk alone, and nothing outside of the folder is read.
 */
export class Runs {
  private readonly watched = new Map<string, Watched>();
  private foundAt = -Infinity;
  private updating: Promise<void> | null = null;

  private constructor(private readonly root: string) {}

  /**
   * Begins to watch a folder.
   *
   * @throws {Error} If there is no such folder.
   */
  static async open(folder: string): Promise<Runs> {
    const found = await stat(folder).catch((error) => {
      if (!isOutOfReach(error)) throw error;
    });
    if (!found?.isDirectory()) {
      throw new Error(`Cannot watch ${folder}: there is no such folder; name one that runs write into, such as out`);
    }
    return new Runs(await realpath(folder));
  }

  /** All of them, the one that was started last first. */
  async list(): Promise<RunSummary[]> {
    await this.update();
    return [...this.watched.values()].map(summaryOf).sort((a, b) => b.startedAt - a.startedAt);
  }

  /** All of one but its curves; null if there is none of that id. */
  async detail(id: string): Promise<RunDetail | null> {
    await this.update();
    const found = this.watched.get(id);
    if (!found) return null;
    const { steps, pictures, messages } = found.story;
    const shown = pictures.map(({ path: _, ...picture }) => picture);
    return { ...summaryOf(found), steps, pictures: shown, messages };
  }

  /** Rows of a step's curves that the client has not seen; null if there is no run of that id. */
  async curves(id: string, step: string, from: number, version: number): Promise<Curves | null> {
    await this.update();
    return this.watched.get(id)?.story.curves(step, from, version) ?? null;
  }

  /** A picture's file; null if there is none, or it lies outside of what is watched. */
  async picturePath(id: string, number: number): Promise<string | null> {
    const found = this.watched.get(id), picture = found?.story.pictures[number];
    if (!found || !picture) return null;
    try {
      const path = await realpath(join(found.folder, picture.path));
      const isFile = (await stat(path)).isFile(), isInside = path.startsWith(this.root + sep);
      return isFile && isInside && path.toLowerCase().endsWith(".png") ? path : null;
    } catch (error) {
      if (isOutOfReach(error)) return null;
      throw error;
    }
  }

  /**
   * Passes a wish on to a run.
   *
   * @throws {WishRefused} If the run does not work, or has not come to the last wish yet.
   */
  async ask(id: string, wish: Wish): Promise<void> {
    await this.update();
    const found = this.watched.get(id);
    if (!found || !["running", "paused"].includes(found.state)) throw new WishRefused("This run is not at work");
    if (found.asked !== null && wish !== "stop") throw new WishRefused("The run has not come to the last wish yet");
    const isPaused = found.state === "paused";
    if (isPaused !== (wish === "resume") && wish !== "stop") {
      throw new WishRefused(isPaused ? "The run is paused, and what it did is saved" : "The run is not paused");
    }
    const content: ControlFile = { run: found.story.id, wish }, path = join(found.folder, controlName);
    try {
      await writeFileAtomically(path, [new TextEncoder().encode(JSON.stringify(content))]);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EISDIR") throw error;
      throw new WishRefused(`${path} is a folder, so the run hears of nothing: take it away`, { cause: error });
    }
  }

  /** Brings all of it up to date; those who ask at the same time share it. */
  private async update(): Promise<void> {
    this.updating ??= this.updateAll().finally(() => this.updating = null);
    await this.updating;
  }

  private async updateAll(): Promise<void> {
    if (performance.now() - this.foundAt > folderEveryMs) {
      const folders = await runFolders(this.root, deepest);
      for (const [id, { folder }] of this.watched) if (!folders.has(folder)) this.watched.delete(id);
      for (const [folder, hasJournal] of folders) await this.watch(folder, hasJournal);
      this.foundAt = performance.now();
    }
    for (const [id, each] of this.watched) {
      try {
        await bringUpToDate(each);
      } catch (error) {
        // It was removed since it was found.
        if (!isOutOfReach(error)) throw error;
        this.watched.delete(id);
      }
    }
  }

  private async watch(folder: string, hasJournal: boolean): Promise<void> {
    const name = relative(this.root, folder).split(sep).join("/") || basename(this.root);
    const id = createHash("sha256").update(folder).digest("hex").slice(0, 16);
    const known = this.watched.get(id);
    if (known && (known.reader !== null) === hasJournal) return;
    const reader = hasJournal ? new JournalReader(folder) : null;
    const story = reader ? reader.story : await readPastRun(folder);
    if (!reader && story.steps.length === 0) return;
    this.watched.set(id, { id, name, folder, reader, story, state: "finished", asked: null });
  }
}

async function bringUpToDate(watched: Watched): Promise<void> {
  const { reader, folder } = watched;
  if (!reader) return;
  await reader.update();
  watched.story = reader.story;
  const { end, isPaused, id } = watched.story;
  // The lock is what counts: a run that was killed says nothing.
  if (end === null && await isRunning(folder)) watched.state = isPaused ? "paused" : "running";
  else watched.state = end ?? "lost";
  watched.asked = end === null ? await waitingWish(folder, id) ?? watched.story.asked : null;
}

/** The wish that lies in a run's folder and has not been read by it. */
async function waitingWish(folder: string, run: string): Promise<string | null> {
  const found = Object(await readJson(join(folder, controlName))) as Partial<ControlFile>;
  return found.run === run ? found.wish ?? null : null;
}

/** Run folders inside of a folder, itself among them, and whether each has a journal. Links are not followed. */
async function runFolders(folder: string, levels: number): Promise<Map<string, boolean>> {
  const found = new Map<string, boolean>();
  const look = async (path: string, levels: number) => {
    const entries = await readdir(path, { withFileTypes: true }).catch((error) => {
      // Removed in between, or not for us to see.
      if (isOutOfReach(error)) return [];
      throw error;
    });
    const at = (name: string) => entries.find((entry) => entry.name === name);
    if (at(journalName)?.isFile()) found.set(path, true);
    else if (at(lockName)?.isFile() && at("steps")?.isDirectory()) found.set(path, false);
    if (levels === 0) return;
    for (const entry of entries) {
      if (!entry.isDirectory() || entry.name.startsWith(".") || ["node_modules", "steps"].includes(entry.name)) {
        continue;
      }
      await look(join(path, entry.name), levels - 1);
    }
  };
  await look(folder, levels);
  return found;
}

function summaryOf({ id, name, story, state, asked }: Watched): RunSummary {
  const { recipe, startedAt, changedAt, trainings, steps } = story;
  const now = steps.find((step) => step.state === "at work")?.name ?? "";
  return { id, name, recipe, state, startedAt, changedAt, trainings, now, asked };
}
