import type { Wish } from "./control.ts";

/** What happens in a run, as it happens. Every event of a step names it; the others concern the whole run. */
export type RunEvent =
  | {
    readonly type: "run-started";
    /** Another one for each start. */
    readonly id: string;
    readonly recipe: string;
    readonly folder: string;
    readonly steps: readonly string[];
  }
  | StepEvent
  | { readonly type: "run-finished"; readonly seconds: number }
  | { readonly type: "run-interrupted"; readonly message: string }
  | { readonly type: "run-failed"; readonly error: Error };

/** What happens in one step. */
export type StepEvent =
  & {
    readonly step: string;
    /** Position in the recipe, from 0. */
    readonly index: number;
  }
  & (
    | {
      readonly type: "step-started";
      /** Why it runs: `first run`, `options.epochs changed`, `'latents' changed`, … */
      readonly because: string;
      /** True if its own folder holds work of an earlier, stopped run with the same inputs. */
      readonly resumes: boolean;
    }
    | {
      readonly type: "progress";
      readonly done: number;
      readonly total: number;
      readonly unit: string;
      readonly message?: string;
      /** Time left at the recent pace; absent until there is a pace. */
      readonly etaSeconds?: number;
      /** Seconds for one more of the unit at the recent pace. */
      readonly secondsEach?: number;
      /** What is said of parts of the work, such as networks: a line each. */
      readonly lines?: readonly string[];
    }
    | { readonly type: "figures"; readonly figures: { readonly [name: string]: number } }
    | {
      readonly type: "artifact";
      readonly path: string;
      /** What the file shows, such as a prompt. */
      readonly shows?: { readonly [name: string]: string | number };
    }
    /** Somebody outside wants something of the run. */
    | { readonly type: "asked"; readonly wish: Wish }
    /** All work so far is on the disk, as the user asked; files made for that are named. */
    | { readonly type: "saved"; readonly paths: readonly string[] }
    /** Waits until the user lets it go on. */
    | { readonly type: "paused" }
    | { readonly type: "resumed" }
    | { readonly type: "warning"; readonly message: string }
    | { readonly type: "step-damaged"; readonly problem: string }
    | { readonly type: "step-unchanged" }
    | { readonly type: "step-loaded" }
    | { readonly type: "step-finished"; readonly seconds: number }
    | { readonly type: "step-failed"; readonly error: Error }
  );

/** Thrown by a run that was stopped by its AbortSignal. What was finished is kept: running again goes on from there. */
export class InterruptedError extends Error {
  override readonly name = "InterruptedError";
  /** Name of the step that was stopped, or that would have been next. */
  readonly step: string;

  constructor(step: string, when: "in" | "before", options?: ErrorOptions) {
    super(`Interrupted ${when} step '${step}': run the recipe again to go on`, options);
    this.step = step;
  }
}

/** Number of recent reports that a pace is measured over: long enough to be steady, short enough to forget a slow start. */
const paceReports = 20;

/**
 * How fast recent work went, and the time left from that.
 *
 * Only the distance between reports counts, so work done in an earlier run does not make it look faster.
 *
 * @example Ten seconds for a quarter, so thirty for the rest
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * const pace = new Pace();
 * deepEqual(pace.after({ done: 0, total: 40, nowSeconds: 0 }), {});
 * deepEqual(pace.after({ done: 10, total: 40, nowSeconds: 10 }), { secondsEach: 1, etaSeconds: 30 });
 * ```
 */
export class Pace {
  #reports: { done: number; nowSeconds: number }[] = [];

  /** Takes note of a report. Returns nothing as long as nothing was done between two reports. */
  after(
    { done, total, nowSeconds }: { done: number; total: number; nowSeconds: number },
  ): { readonly secondsEach?: number; readonly etaSeconds?: number } {
    // Work that goes back is other work, an epoch's validation for instance: its pace is measured anew.
    if (done < (this.#reports.at(-1)?.done ?? 0)) this.#reports = [];
    this.#reports.push({ done, nowSeconds });
    if (this.#reports.length > paceReports) this.#reports.shift();
    const first = this.#reports[0];
    if (done === first.done) return {};
    const secondsEach = (nowSeconds - first.nowSeconds) / (done - first.done);
    return { secondsEach, etaSeconds: Math.max(0, total - done) * secondsEach };
  }
}
