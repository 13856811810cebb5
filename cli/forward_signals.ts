/** Hands signals that end or change a run on to a child process, as long as it lives. */
export function forwardSignals(child: Deno.ChildProcess): () => void {
  // A terminal sends Ctrl-C to the whole group by itself; handing it on would make it two.
  const signals: [Deno.Signal, boolean][] = [["SIGINT", !Deno.stdin.isTerminal()]];
  if (Deno.build.os !== "windows") signals.push(["SIGTERM", true], ["SIGHUP", true], ["SIGUSR2", true]);
  const listeners = signals.map(([signal, handOn]) => {
    const listener = () => {
      if (handOn) child.kill(signal);
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
