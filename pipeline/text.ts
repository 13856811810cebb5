import type { Description, StepDescription } from "./describe.ts";
import type { RunEvent } from "./events.ts";

/**
 * A description for reading: one paragraph per step.
 *
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * const step = { name: "count", options: { twice: true }, needs: ["captions"], gives: ["count"], replaces: [],
 *   releases: [], stored: true, figures: { peakGpuBytes: 3 * 2 ** 20 }, lines: ["two passes"], disk: [] };
 * equal(descriptionText({ name: "counting", steps: [step] }), `counting
 *
 *  1. count
 *     needs captions · gives count · kept on disk
 *     twice: true
 *     peak gpu: 3.0 MiB
 *     two passes`);
 * ```
 */
export function descriptionText(description: Description): string {
  return [description.name, ...description.steps.map(stepText)].join("\n\n");
}

function stepText(step: StepDescription, index: number): string {
  const list = (verb: string, names: readonly string[]) => names.length > 0 ? [`${verb} ${names.join(", ")}`] : [];
  const flow = [
    ...list("needs", step.needs),
    ...list("gives", step.gives),
    ...list("replaces", step.replaces),
    ...list("releases", step.releases),
    ...(step.stored ? ["kept on disk"] : []),
  ];
  const options = Object.entries(Object(step.options)).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  const lines = [
    ...(flow.length > 0 ? [flow.join(" · ")] : []),
    ...(options.length > 0 ? [options.join(", ")] : []),
    ...Object.entries(step.figures).map(([name, value]) => figureText(name, value)),
    ...step.lines,
    ...(step.unplanned === undefined ? [] : [`no figures: nothing is known of '${step.unplanned}' before the run`]),
  ];
  return [`${String(index + 1).padStart(2)}. ${step.name}`, ...lines.map((line) => `    ${line}`)].join("\n");
}

/**
 * An event as one line, for logs: `train network 2: 30 of 120 steps, 2 min 5 s left`.
 *
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * const event = { type: "progress", step: "train", index: 0, done: 3, total: 12, unit: "steps", etaSeconds: 125 } as const;
 * equal(eventText(event), "train: 3 of 12 steps, 2 min 5 s left");
 * ```
 */
export function eventText(event: RunEvent): string {
  switch (event.type) {
    case "run-started":
      return `${event.recipe}: ${event.steps.length} steps in ${event.folder}`;
    case "run-finished":
      return `done in ${durationText(event.seconds)}`;
    case "run-interrupted":
      return event.message;
    case "run-failed":
      return `failed: ${event.error.message}`;
    case "step-started":
      return `${event.step}: ${event.resumes ? "goes on" : "starts"} (${event.because})`;
    case "progress": {
      const { step, done, total, unit, message, lines = [] } = event;
      const about = [`${done} of ${total} ${unit}${paceText(event)}`, ...message === undefined ? [] : [message]];
      return `${step}: ${[about.join(", "), ...lines].join("; ")}`;
    }
    case "figures":
      return `${event.step}: ${Object.entries(event.figures).map(([name, v]) => figureText(name, v)).join(", ")}`;
    case "artifact":
      return `${event.step}: made ${event.path}`;
    case "asked":
      return `${event.step}: asked to ${event.wish}`;
    case "saved":
      return `${event.step}: saved${event.paths.length > 0 ? ` ${event.paths.join(", ")}` : ""}`;
    case "paused":
      return `${event.step}: paused, and waits to be resumed or stopped; what is done is saved`;
    case "resumed":
      return `${event.step}: resumed`;
    case "warning":
      return `${event.step}: warning: ${event.message}`;
    case "step-damaged":
      return `${event.step}: damaged: ${event.problem}`;
    case "step-unchanged":
      return `${event.step}: unchanged`;
    case "step-loaded":
      return `${event.step}: loaded`;
    case "step-finished":
      return `${event.step}: done in ${durationText(event.seconds)}`;
    case "step-failed":
      return `${event.step}: failed: ${event.error.message}`;
  }
}

/** The pace and the time left, where they are known: `, 1.2 s/step, 3 min 5 s left`. */
export function paceText({ unit, etaSeconds, secondsEach }: Extract<RunEvent, { type: "progress" }>): string {
  // Of bytes and the like only the time left says something.
  const each = secondsEach === undefined || unit !== "steps" ? "" : `, ${Number(secondsEach.toPrecision(2))} s/step`;
  return each + (etaSeconds === undefined ? "" : `, ${durationText(etaSeconds)} left`);
}

/** A figure with its unit, which is the end of its name: `peakGpuBytes` → `peak gpu: 1.5 GiB`. */
function figureText(name: string, value: number): string {
  const words = name.replace(/([a-z0-9])([A-Z])/g, "$1 $2").toLowerCase();
  if (words.endsWith(" bytes")) return `${words.slice(0, -" bytes".length)}: ${sizeText(value)}`;
  if (words.endsWith(" seconds")) return `${words.slice(0, -" seconds".length)}: ${durationText(value)}`;
  return `${words}: ${Number.isInteger(value) ? value.toLocaleString("en-US") : Number(value.toPrecision(4))}`;
}

/**
 * A duration for reading, to the second from a minute on.
 *
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(durationText(4.25), "4.3 s");
 * equal(durationText(3725), "1 h 2 min");
 * ```
 */
export function durationText(seconds: number): string {
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/**
 * A number of bytes for reading.
 *
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(sizeText(3 * 2 ** 29), "1.5 GiB");
 * ```
 */
export function sizeText(sizeBytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, sizeBytes)) / 10));
  return `${power === 0 ? sizeBytes : (sizeBytes / 1024 ** power).toFixed(1)} ${units[power]}`;
}
