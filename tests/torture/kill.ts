import { basename } from "node:path";
import { startScript } from "../examples/run_example.ts";
import { filesIn } from "./published.ts";
import type { Variant } from "./small_run.ts";

/** What a small run was doing when it was killed. */
export type Phase =
  | "loading"
  | "encoding latents"
  | "writing latents"
  | "first step"
  | "step"
  | "writing a network"
  | "writing a state"
  | "writing a checkpoint"
  | "removing old files"
  | "making pictures"
  | "writing a picture"
  | "writing logs"
  | "writing a product"
  | "finished";

/** When to kill: so long behind an event, or behind the making of a hidden file; else behind the start of the process. */
export interface Moment {
  /** For lines of events. */
  readonly event?: RegExp;
  /** For paths. */
  readonly hidden?: RegExp;
  /** How many of them to let pass. */
  readonly skip?: number;
  readonly milliseconds: number;
  /** What is sent; SIGKILL when left out. */
  readonly signals?: readonly Deno.Signal[];
}

const script = new URL("./small_run.ts", import.meta.url).pathname;

/** How a small run ended. */
export interface KilledRun {
  /** Null where it ended by itself. */
  readonly phase: Phase | null;
  /** Steps done in all, as far as it said. */
  readonly steps: number;
  readonly stderr: string;
  readonly code: number;
  /** From the signal to the end. */
  readonly seconds: number;
  readonly warnings: readonly string[];
}

/** Starts a small run and ends it at a moment; without one it runs to its end. */
export async function smallRun(folder: string, variant: Variant, moment?: Moment): Promise<KilledRun> {
  const before = new Set(await filesIn(folder, "hidden"));
  const child = startScript(script, folder, { args: [variant] }), stderr = new Response(child.stderr).text();
  let timer: ReturnType<typeof setTimeout> | undefined, left = moment?.skip ?? 0, killed = false, sentAt = 0;
  const kill = () => {
    killed = true;
    sentAt = performance.now();
    // It may have ended in this very moment.
    try {
      for (const signal of moment?.signals ?? ["SIGKILL" as const]) child.kill(signal);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
  };
  const arm = () => {
    if (moment!.milliseconds === 0) kill();
    else timer ??= setTimeout(kill, moment!.milliseconds);
  };
  if (moment && !moment.event && !moment.hidden) arm();
  const watcher = moment?.hidden ? Deno.watchFs(folder) : null;
  const watching = (async () => {
    const seen = new Set<string>();
    for await (const { paths } of watcher ?? []) {
      for (const path of paths.filter((path) => moment!.hidden!.test(path))) {
        if (!seen.has(path) && seen.size === left) arm();
        seen.add(path);
      }
    }
  })();
  const lines: string[] = [];
  let rest = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    const found = (rest + text).split("\n");
    rest = found.pop()!;
    lines.push(...found);
    if (moment?.event && found.some((line) => moment.event!.test(line) && left-- === 0)) arm();
  }
  const { code } = await child.status, seconds = (performance.now() - sentAt) / 1000;
  clearTimeout(timer);
  watcher?.close();
  await watching;
  const events = lines.map((line) => JSON.parse(line));
  const steps = Math.max(0, ...events.map(({ unit, done }) => unit === "steps" ? done : 0));
  const warnings = events.flatMap(({ type, message }) => type === "warning" ? [message] : []);
  const hidden = (await filesIn(folder, "hidden")).filter((path) => !before.has(path));
  const isKilled = killed && code !== 0;
  return { phase: isKilled ? phaseOf(events, hidden) : null, steps, stderr: await stderr, code, seconds, warnings };
}

/** By what lies half-written, else by the last event. */
function phaseOf(events: readonly Record<string, string>[], hidden: readonly string[]): Phase {
  const kinds: [RegExp, Phase][] = [
    [/\.tmp-del-/, "removing old files"],
    [/^latents\//, "writing latents"],
    [/\/work\/\.tmp-checkpoint/, "writing a checkpoint"],
    [/^out\/sample\//, "writing a picture"],
    [/^out\/\.tmp-.*-state-/, "writing a state"],
    [/^out\//, "writing a network"],
    [/^logs(_first)?\//, "writing logs"],
    [/\.new\b|\/\.(manifest|started)/, "writing a product"],
  ];
  for (const [kind, phase] of kinds) if (hidden.some((path) => kind.test(path))) return phase;
  const last = events.at(-1) ?? {}, done = events.findLast(({ unit }) => unit === "steps")?.done;
  if (last.type === "run-finished") return "finished";
  if (last.step === "cache latents") return "encoding latents";
  if (last.step === "save networks") return "writing a network";
  if (!/train/.test(last.step) || last.type === "step-started") return "loading";
  if (last.type === "step-finished") return "writing a product";
  if (last.message === "compiling") return "first step";
  if (last.type !== "artifact") return "step";
  if (last.path.startsWith("logs")) return "writing logs";
  const isMadeHere = last.step === "train both networks" && Number(done) % 4 === 0;
  const name = basename(last.path);
  return isMadeHere && (name.endsWith("-state") || /(mine|other)_\d{14}/.test(name)) ? "making pictures" : "step";
}
