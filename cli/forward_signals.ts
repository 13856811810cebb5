import { hangsOnTerminal } from "./stop_signals.ts";

/** Hands signals that end or change a run on to a child process, as long as it lives; that the terminal was closed as SIGTERM. */
export function forwardSignals(child: Deno.ChildProcess): () => void {
  // A terminal sends Ctrl-C to the whole group by itself; handing it on would make it two.
  const signals: [Deno.Signal, Deno.Signal | null][] = [["SIGINT", Deno.stdin.isTerminal() ? null : "SIGINT"]];
  if (Deno.build.os !== "windows") {
    signals.push(["SIGTERM", "SIGTERM"], ["SIGUSR2", "SIGUSR2"], ["SIGHUP", hangsOnTerminal() ? "SIGTERM" : null]);
  }
  const listeners = signals.map(([signal, handedOn]) => {
    const listener = () => {
      if (handedOn !== null) child.kill(handedOn);
    };
    Deno.addSignalListener(signal, listener);
    return () => Deno.removeSignalListener(signal, listener);
  });
  return () => listeners.forEach((remove) => remove());
}

/** Starts a program on this terminal, hands signals on to it until it ends, and gives its exit code. */
export async function runProgram(path: string, options: Omit<Deno.CommandOptions, "stdin">): Promise<number> {
  const child = new Deno.Command(path, { ...options, stdin: "inherit" }).spawn();
  const stopForwarding = forwardSignals(child), { code } = await child.status;
  stopForwarding();
  return code;
}
