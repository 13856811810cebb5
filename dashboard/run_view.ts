import type { JournalLine } from "../pipeline/mod.ts";

/** How a run stands: `lost` means that its process ended without a word, as by a kill or a power cut. */
export type RunState = "running" | "paused" | "finished" | "stopped" | "failed" | "lost";

/** A step of a recipe as the page shows it. */
export interface StepView {
  readonly name: string;
  readonly state: "waiting" | "at work" | "done" | "unchanged" | "failed";
  /** Of its work, while it is done. */
  readonly progress?: {
    readonly done: number;
    readonly total: number;
    readonly unit: string;
    readonly message?: string;
    readonly secondsEach?: number;
    readonly etaSeconds?: number;
  };
  /** What it took. */
  readonly seconds?: number;
}

/** A picture that a run made. */
export interface PictureView {
  /** Its place in the run's list. */
  readonly number: number;
  readonly step: string;
  readonly name: string;
  /** Seconds since 1970. */
  readonly time: number;
  /** Such as its prompt. */
  readonly shows: Readonly<Record<string, string | number>>;
}

/** Figures of one optimizer step, as in `figures.jsonl`: `step` and `epoch` from 1, and whatever the training tells. */
export type FigureRow = Readonly<Record<string, number | null>>;

/** Something a run said. */
export interface Message {
  /** Seconds since 1970. */
  readonly time: number;
  readonly kind: "warning" | "error" | "note";
  readonly text: string;
}

/** A run in a list of runs. */
export interface RunSummary {
  readonly id: string;
  /** Its folder, from the folder that is watched. */
  readonly name: string;
  readonly recipe: string;
  readonly state: RunState;
  /** Seconds since 1970. */
  readonly startedAt: number;
  readonly changedAt: number;
  /** Steps with curves. */
  readonly trainings: readonly string[];
  /** The step at work, in a line. */
  readonly now: string;
  /** What it was asked for, and has not come to. */
  readonly asked: string | null;
}

/** All of a run but its curves. */
export interface RunDetail extends RunSummary {
  readonly steps: readonly StepView[];
  readonly pictures: readonly PictureView[];
  readonly messages: readonly Message[];
}

/** Rows that came since a client asked last. */
export interface Curves {
  /** Another one where the step was begun anew: what the client has is then no more. */
  readonly version: number;
  /** What to ask with the next time. */
  readonly next: number;
  readonly rows: readonly FigureRow[];
}

/** Messages that are kept. */
const keptMessages = 200;

/** What follows of the lines of a journal, one after another. */
export class RunStory {
  /** Of the start that wrote last; empty in folders without a journal. */
  id = "";
  recipe = "";
  startedAt = 0;
  changedAt = 0;
  isPaused = false;
  /** What the run was asked for and has not come to; null for nothing. */
  asked: string | null = null;
  /** How the last start ended; null while nothing says that it has. */
  end: "finished" | "stopped" | "failed" | null = null;
  steps: StepView[] = [];
  readonly pictures: (PictureView & { readonly path: string })[] = [];
  readonly messages: Message[] = [];
  private readonly pictureAt = new Map<string, number>();
  private readonly figures = new Map<string, { version: number; rows: FigureRow[]; at: Map<number, number> }>();

  /** Takes note of a line. */
  add(line: JournalLine): void {
    this.changedAt = Math.max(this.changedAt, line.time);
    switch (line.type) {
      case "run-started":
        this.id = line.id;
        this.recipe = line.recipe;
        this.startedAt = line.time;
        this.end = null;
        this.isPaused = false;
        this.asked = null;
        this.steps = line.steps.map((name) => ({ name, state: "waiting" }));
        break;
      case "run-finished":
        this.end = "finished";
        break;
      case "run-interrupted":
        this.end = "stopped";
        this.say(line.time, "note", line.message);
        break;
      case "run-failed":
        this.end = "failed";
        break;
      case "step-started":
        this.setStep(line, { state: "at work" });
        if (!line.resumes) this.figures.delete(line.step);
        break;
      case "progress": {
        const { done, total, unit, message, secondsEach, etaSeconds } = line;
        const pace = {
          ...message === undefined ? {} : { message },
          ...secondsEach === undefined ? {} : { secondsEach },
          ...etaSeconds === undefined ? {} : { etaSeconds },
        };
        this.setStep(line, { state: "at work", progress: { done, total, unit, ...pace } });
        break;
      }
      case "figures":
        this.addFigures(line.step, line.time, line.figures);
        break;
      case "artifact":
        this.addPicture(line);
        break;
      case "warning":
        this.say(line.time, "warning", `${line.step}: ${line.message}`);
        break;
      case "step-damaged":
        this.say(line.time, "warning", `${line.step}: ${line.problem}`);
        break;
      case "asked":
        this.asked = line.wish === "resume" ? null : line.wish;
        break;
      case "saved":
        if (this.asked === "save") this.asked = null;
        this.say(line.time, "note", `${line.step}: saved ${line.paths.join(", ") || "a checkpoint"}`);
        break;
      case "paused":
      case "resumed":
        this.isPaused = line.type === "paused";
        this.asked = null;
        this.say(line.time, "note", `${line.step}: ${line.type}`);
        break;
      case "step-unchanged":
        this.setStep(line, { state: "unchanged" });
        break;
      case "step-finished":
        this.setStep(line, { state: "done", seconds: line.seconds });
        break;
      case "step-failed":
        this.setStep(line, { state: "failed" });
        this.say(line.time, "error", `${line.step}: ${line.message}`);
        break;
      case "step-loaded":
        break;
    }
  }

  /** Steps with curves. */
  get trainings(): string[] {
    return [...this.figures.keys()];
  }

  /** Rows of a step behind the first `from`; all of them if the client knows another version. */
  curves(step: string, from: number, version: number): Curves {
    const found = this.figures.get(step);
    if (!found) return { version: 0, next: 0, rows: [] };
    const start = version === found.version ? from : 0;
    return { version: found.version, next: found.rows.length, rows: found.rows.slice(start) };
  }

  private setStep({ step, index }: { step: string; index: number }, view: Omit<StepView, "name">): void {
    if (index in this.steps) this.steps[index] = { name: step, ...view };
  }

  /** Says something about the run. */
  say(time: number, kind: Message["kind"], text: string): void {
    this.messages.push({ time, kind, text });
    if (this.messages.length > keptMessages) this.messages.shift();
  }

  /** A run that goes on tells the steps before once more: those change nothing, and are not kept twice. */
  private addFigures(step: string, time: number, row: FigureRow): void {
    const number = row.step;
    if (number === null || number === undefined) return;
    let found = this.figures.get(step);
    if (!found) this.figures.set(step, found = { version: time, rows: [], at: new Map() });
    const at = found.at.get(number), merged = at === undefined ? row : { ...found.rows[at], ...row };
    if (at !== undefined && JSON.stringify(merged) === JSON.stringify(found.rows[at])) return;
    found.at.set(number, found.rows.length);
    found.rows.push(merged);
  }

  private addPicture({ path, time, step, shows = {} }: Extract<JournalLine, { type: "artifact" }>): void {
    if (!path.toLowerCase().endsWith(".png")) return;
    const number = this.pictureAt.get(path) ?? this.pictures.length;
    this.pictureAt.set(path, number);
    this.pictures[number] = { number, path, name: path.split(/[\\/]/).at(-1)!, time, step, shows };
  }
}
