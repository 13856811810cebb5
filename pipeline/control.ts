import { existsSync, lstatSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

/** Name of the file in a run folder by which somebody outside says what the run should do. */
export const controlName = "control.json";

/** What can be asked of a run at work: to wait, to go on after that, to save what it has and go on, to save and end. */
export const wishes = ["pause", "resume", "save", "stop"] as const;

/** One of {@linkcode wishes}. */
export type Wish = typeof wishes[number];

/** What the control file holds: a wish, and the run that it is for. */
export interface ControlFile {
  /** `id` of the event `run-started`: each start has another, so that a file that was left is never obeyed by a later run. */
  readonly run: string;
  readonly wish: Wish;
}

/** What a {@linkcode RunControl} tells. */
export type ControlEvent =
  | { readonly type: "asked"; readonly wish: Wish }
  | { readonly type: "paused" | "resumed" }
  | { readonly type: "warning"; readonly message: string };

/** Milliseconds between two looks. */
const lookEveryMs = 250;

/** Why a run stops that was asked to by its control file. */
export class StopWish extends Error {
  override readonly name = "AbortError";
}

/** What a step at work may ask of {@linkcode RunControl}. */
export interface StepControl {
  /** What the step should do before it goes on: save its work, or save it and then wait in `whilePaused`. Asking for it fulfils the wish to save. */
  wish(): "save" | "pause" | null;
  /**
   * Waits until the run should go on.
   *
   * @throws The reason of the run's signal, if it should stop instead.
   */
  whilePaused(): Promise<void>;
}

/**
 * Looks for the control file of a run, four times a second: from a timer, and in loops that ask in every round. A file that has been read is removed.
 */
export class RunControl implements StepControl, Disposable {
  /** Aborted by the signal that the run was given, or by the wish to stop. */
  readonly signal: AbortSignal;
  /** Hears of wishes and waits, and of a control file that cannot be followed. */
  tell: (event: ControlEvent) => void = () => {};
  readonly #path: string;
  readonly #id: string;
  readonly #stop = new AbortController();
  readonly #timer: ReturnType<typeof setInterval>;
  #lastLook = -Infinity;
  #isOutOfReach = false;
  #isPaused = false;
  #saves = false;

  /** @param id The run's, as in its event `run-started`. */
  constructor(folder: string, id: string, signal?: AbortSignal) {
    this.#path = join(folder, controlName);
    this.#id = id;
    this.signal = AbortSignal.any([...signal ? [signal] : [], this.#stop.signal]);
    // A folder is no wish that was left, but somebody's: it stays, and is told of at the first look.
    const left = lstatSync(this.#path, { throwIfNoEntry: false });
    if (left && !left.isDirectory()) rmSync(this.#path, { force: true });
    this.#timer = setInterval(() => this.#lookFromTimer(), lookEveryMs);
    Deno.unrefTimer(this.#timer);
  }

  wish(): "save" | "pause" | null {
    this.#look();
    const saves = this.#saves;
    this.#saves = false;
    return saves ? "save" : this.#isPaused ? "pause" : null;
  }

  async whilePaused(): Promise<void> {
    this.#look();
    if (!this.#isPaused) return;
    this.tell({ type: "paused" });
    while (this.#isPaused && !this.signal.aborted) await untilNextLook(this.signal);
    this.signal.throwIfAborted();
    this.tell({ type: "resumed" });
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  /** What hears of it may throw, which stops the run as it does elsewhere. */
  #lookFromTimer(): void {
    try {
      this.#look();
    } catch (error) {
      this.#stop.abort(error);
    }
  }

  /** Reads the control file and removes it; null where there is none. What cannot be read or removed is told once, and then left alone. */
  #takeFile(): string | null {
    if (this.#isOutOfReach || !existsSync(this.#path)) return null;
    try {
      // A named pipe would keep the run waiting, and a device never ends.
      if (!lstatSync(this.#path).isFile()) throw new Error(`${this.#path} is no plain file; take it away`);
      const text = readFileSync(this.#path, "utf8");
      rmSync(this.#path);
      return text;
    } catch (error) {
      this.#isOutOfReach = true;
      const message = `${(error as Error).message}. The run goes on, and hears of no wishes any more`;
      this.tell({ type: "warning", message });
      return null;
    }
  }

  #look(): void {
    const now = performance.now();
    if (now - this.#lastLook < lookEveryMs) return;
    this.#lastLook = now;
    const text = this.#takeFile();
    if (text === null) return;
    const wish = readWish(text, this.#id);
    if (wish === null) {
      const wanted = `{"run": "${this.#id}", "wish": one of ${wishes.map((wish) => `"${wish}"`).join(", ")}}`;
      this.tell({ type: "warning", message: `${this.#path} was removed and not followed: it has to hold ${wanted}` });
      return;
    }
    this.tell({ type: "asked", wish });
    if (wish === "stop") this.#stop.abort(new StopWish("The run was asked to stop"));
    else if (wish === "save") this.#saves = true;
    else this.#isPaused = wish === "pause";
  }
}

/** The wish in a control file; null if the file is for another run, or is none. */
function readWish(text: string, id: string): Wish | null {
  try {
    const { run, wish }: Partial<ControlFile> = Object(JSON.parse(text));
    return run === id && wish !== undefined && wishes.includes(wish) ? wish : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** Waits as long as there is between two looks, or until a signal is aborted. */
async function untilNextLook(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, lookEveryMs), end = () => resolve();
  signal.addEventListener("abort", end, { once: true });
  await promise;
  clearTimeout(timer);
  signal.removeEventListener("abort", end);
}
