import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { Line } from "../line.ts";

/** A program to be run, and for how long. */
export interface Run {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** Whether it prints JSON lines, a test's results in the Test Anything Protocol, or text that is kept as lines. */
  readonly prints: keyof typeof lineOf;
  /** After which it is ended. */
  readonly seconds: number;
}

/** Hears what a program prints, as it comes. */
export interface Listener {
  readonly onLine: (line: Line) => void;
  /** Everything that is no line of figures. */
  readonly onText: (text: string) => void;
}

/** How a program ended. */
export interface Ending {
  readonly state: "done" | "failed" | "out of time";
  /** Why, where it is not done. */
  readonly reason: string;
  readonly seconds: number;
}

/** A process that hangs in its driver may not end even so; nobody waits longer. */
const graceMs = 5000;

/** Runs a program to its end or its time's. Whatever becomes of it, the lines that it has printed were heard; a program that is not there has failed. */
export async function runPiece({ command, args, cwd, prints, seconds }: Run, listener: Listener): Promise<Ending> {
  const started = performance.now(), elapsed = () => (performance.now() - started) / 1000;
  let child: Deno.ChildProcess;
  try {
    const env = { NO_COLOR: "1", PYTHONUNBUFFERED: "1" };
    child = new Deno.Command(command, { args: [...args], cwd, env, stdin: "null", stdout: "piped", stderr: "piped" })
      .spawn();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return { state: "failed", reason: `${command} is not there`, seconds: elapsed() };
  }
  const heard = [
    listen(child.stdout, (text) => {
      const line = lineOf[prints](text);
      if (line) listener.onLine(line);
      else listener.onText(text);
    }),
    listen(child.stderr, listener.onText),
  ];
  const status = await within(1000 * seconds, child.status);
  if (!status) child.kill("SIGKILL");
  // What is in the pipes is still to be heard; who inherited them may hold them open for ever.
  await within(graceMs, Promise.all([child.status, ...heard.map(({ done }) => done)]));
  for (const { stop } of heard) stop();
  if (!status) return { state: "out of time", reason: `ended after ${seconds.toFixed(0)} s`, seconds: elapsed() };
  const { success, code, signal } = status;
  return {
    state: success ? "done" : "failed",
    reason: success ? "" : `ended with ${signal ?? code}`,
    seconds: elapsed(),
  };
}

/** What a promise gives, or null where that takes longer. */
async function within<Value>(ms: number, promise: Promise<Value>): Promise<Value | null> {
  const timer = new AbortController(), late = sleep(ms, null, { signal: timer.signal, ref: false }).catch(() => null);
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}

function listen(
  stream: ReadableStream<Uint8Array>,
  hear: (text: string) => void,
): { done: Promise<void>; stop(): void } {
  const input = Readable.fromWeb(stream as Parameters<typeof Readable.fromWeb>[0]), lines = createInterface({ input });
  lines.on("line", hear);
  return {
    done: new Promise((done) => lines.once("close", done)),
    stop: () => {
      lines.close();
      input.destroy();
    },
  };
}

/** What a line of output is as a line of figures; null where it is none. */
const lineOf = { json: jsonLine, tap: tapLine, text: (text: string): Line | null => ({ op: "said", text }) };

/** What is a JSON object in a line, or null. */
function jsonLine(text: string): Line | null {
  if (!text.startsWith("{")) return null;
  try {
    // So Python writes figures that are none.
    return JSON.parse(text.replace(/(?<=[:,[]\s*)(NaN|-?Infinity)(?=\s*[,\]}])/g, "null"));
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** A test's result, or null. */
function tapLine(text: string): Line | null {
  const [, no, name] = text.match(/^(not )?ok \d+ - (.*)$/) ?? [];
  return name === undefined
    ? null
    : { peer: "dualora", op: "parity", shape: name, pass: "test", passed: no === undefined };
}
