import { fileURLToPath } from "node:url";

/** The path of a file of this program. */
export function programFile(name: string): string {
  return fileURLToPath(new URL(`../${name}`, import.meta.url));
}

/** Arguments of `deno` that start a script by the launcher, in a process of its own with the fewest permissions, from any folder. */
export function launcherArgs(script: string, args: readonly string[]): string[] {
  const launcher = ["--permission-set=launch", programFile("tools/launch.ts")];
  return ["run", "--quiet", `--config=${programFile("deno.json")}`, ...launcher, script, ...args];
}
