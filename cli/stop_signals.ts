import { exitCodes } from "./exit_codes.ts";

/** What asks a run to stop: Ctrl-C, `kill`, and batch schedulers, which send SIGUSR2 some time before the end. Windows knows the first alone. */
export const stopSignals: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM", "SIGUSR2"];

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
  const stop = new AbortController();
  const listeners = stopSignals.map((signal) => {
    const listener = () => {
      if (!stop.signal.aborted) {
        console.error(
          `Stopping as soon as the work is saved; press Ctrl-C ${signal === "SIGINT" ? "again " : ""}to stop at once`,
        );
        stop.abort();
      } else if (signal === "SIGINT") Deno.exit(exitCodes.interrupted);
    };
    Deno.addSignalListener(signal, listener);
    return () => Deno.removeSignalListener(signal, listener);
  });
  return { signal: stop.signal, [Symbol.dispose]: () => listeners.forEach((remove) => remove()) };
}
