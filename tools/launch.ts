/**
 * Sets the machine up, then runs a script in a process of its own with the right environment and the fewest permissions:
 * `deno run -A tools/launch.ts [flags of deno run] <script> [arguments]`. Ends with the script's exit code.
 *
 * @module
 */
import { cacheFolder } from "../steps/values/cache_folder.ts";
import { launchEnvironment } from "./launch_environment.ts";
import { permissionFlags } from "./permissions.ts";
import { projectFolder } from "./project_files.ts";
import { setUpOrExit } from "./setup.ts";

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

if (import.meta.main) {
  const scriptAt = Deno.args.findIndex((argument) => !argument.startsWith("-"));
  if (scriptAt < 0) {
    console.error("Usage: deno run -A tools/launch.ts [flags of deno run] <script> [arguments]");
    Deno.exit(2);
  }
  await setUpOrExit();
  const [script, ...args] = Deno.args.slice(scriptAt);
  const flags = Deno.args.slice(0, scriptAt);
  // A script that lies elsewhere finds the project's packages by it.
  const config = flags.some((flag) => /^(--config|-c)\b/.test(flag)) ? [] : [`--config=${projectFolder}deno.json`];
  const permissions = await permissionFlags(script, args);
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", ...config, ...permissions, ...Deno.args],
    env: { DUALORA_CACHE: cacheFolder(), ...launchEnvironment() },
    stdin: "inherit",
  }).spawn();
  const stopForwarding = forwardSignals(child);
  const { code } = await child.status;
  stopForwarding();
  Deno.exit(code);
}
