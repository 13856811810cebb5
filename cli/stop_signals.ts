import process from "node:process";
import { exitCodes } from "./exit_codes.ts";

/** What asks a run to stop: Ctrl-C, `kill`, and batch schedulers, which send SIGUSR2 some time before the end. Windows knows the first alone. */
export const stopSignals: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM", "SIGUSR2"];

/**
 * Whether the process hangs on a terminal, so that SIGHUP says that it was closed. What `nohup` or a service manager started does not: there the signal means
 * nothing. Deno itself ends at SIGHUP, ignored or not, once it listens to any signal; so whoever listens has to listen to this one as well.
 */
export function hangsOnTerminal(): boolean {
  return Deno.build.os !== "windows" && [Deno.stdin, Deno.stdout, Deno.stderr].some((each) => each.isTerminal());
}

/** Listens until it is disposed. */
export interface StopSignals extends Disposable {
  /** Aborted by the first signal. */
  readonly signal: AbortSignal;
}

/**
 * Turns signals of the operating system into a wish to stop, which a run follows as soon as its work is saved. Another Ctrl-C ends the process at once, with
 * 75; another signal of a scheduler, which sends SIGTERM behind SIGUSR2, does not.
 */
export function listenForStop(): StopSignals {
  const stop = new AbortController(), stack = new DisposableStack();
  for (const signal of stopSignals) {
    const listener = () => {
      if (!stop.signal.aborted) {
        console.error(
          `Stopping as soon as the work is saved; press Ctrl-C ${signal === "SIGINT" ? "again " : ""}to stop at once`,
        );
        stop.abort();
      } else if (signal === "SIGINT") Deno.exit(exitCodes.interrupted);
    };
    Deno.addSignalListener(signal, listener);
    stack.defer(() => Deno.removeSignalListener(signal, listener));
  }
  if (Deno.build.os !== "windows") {
    const isHanging = hangsOnTerminal(), hangUp = () => isHanging && stop.abort();
    Deno.addSignalListener("SIGHUP", hangUp);
    stack.defer(() => Deno.removeSignalListener("SIGHUP", hangUp));
    // What is written to a terminal that is gone fails, maybe before the signal comes.
    for (const output of isHanging ? [process.stdout, process.stderr] : []) {
      output.on("error", hangUp);
      stack.defer(() => output.off("error", hangUp));
    }
  }
  return { signal: stop.signal, [Symbol.dispose]: () => stack.dispose() };
}
