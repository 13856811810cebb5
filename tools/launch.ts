/**
 * Sets the machine up, then runs a script in a process of its own with the right environment and the fewest permissions:
 * `deno run -A tools/launch.ts [flags of deno run] <script> [arguments]`. Ends with the script's exit code.
 *
 * @module
 */
import { runProgram } from "../cli/forward_signals.ts";
import { cacheFolder } from "../steps/values/cache_folder.ts";
import { launchEnvironment } from "./launch_environment.ts";
import { needsDevice, permissionFlags, UnsayablePathError } from "./permissions.ts";
import { projectFolder } from "./project_files.ts";
import { setUpOrExit } from "./setup.ts";

if (import.meta.main) {
  const scriptAt = Deno.args.findIndex((argument) => !argument.startsWith("-"));
  if (scriptAt < 0) {
    console.error("Usage: deno run -A tools/launch.ts [flags of deno run] <script> [arguments]");
    Deno.exit(2);
  }
  const [script, ...args] = Deno.args.slice(scriptAt);
  // Before the machine is set up, which may take minutes.
  const permissions = await permissionFlags(script, args).catch((error) => {
    if (!(error instanceof UnsayablePathError)) throw error;
    console.error(error.message);
    Deno.exit(2);
  });
  const driver = needsDevice(script, args) ? await setUpOrExit() : null;
  const flags = Deno.args.slice(0, scriptAt);
  // A script that lies elsewhere finds the project's packages by it.
  const config = flags.some((flag) => /^(--config|-c)\b/.test(flag)) ? [] : [`--config=${projectFolder}deno.json`];
  const code = await runProgram(Deno.execPath(), {
    args: ["run", ...config, ...permissions, ...Deno.args],
    env: {
      DUALORA_CACHE: cacheFolder(),
      ...driver === null ? {} : { DUALORA_DRIVER: driver },
      ...launchEnvironment(),
    },
  });
  Deno.exit(code);
}
