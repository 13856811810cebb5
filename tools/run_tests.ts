/**
 * Runs all tests, documentation examples among them, and ends with a line `N passed, N failed`:
 * `deno task test [files or flags of deno test]`. Exit code 0 only if a test ran and none failed.
 *
 * Tests may not use the network, and see no environment. Those in `tests/network/` ask a server of their own on this machine; they run by
 * themselves, with the permission for that address alone. Those in `tests/fuzz/` run by themselves as well, since they watch the process's memory.
 *
 * @module
 */
import { mkdir, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative, resolve, sep } from "node:path";
import { forwardSignals } from "../cli/forward_signals.ts";
import { launchEnvironment } from "./launch_environment.ts";
import { projectFolder } from "./project_files.ts";
import { setUpOrExit } from "./setup.ts";
import { countTests } from "./test_summary.ts";

/** Whether a word of the command line is a path of tests. */
async function isPath(word: string): Promise<boolean> {
  return !word.startsWith("-") && await stat(word).then(() => true, () => false);
}

/** Whether a path is a folder's or lies in it. */
function isIn(folder: string, path: string): boolean {
  const way = relative(resolve(projectFolder, folder), resolve(path));
  return way !== ".." && !way.startsWith(`..${sep}`);
}

/** Runs `deno test` once, shows what it prints, and counts. */
async function runTests(args: readonly string[]): Promise<{ passed: number; failed: number }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "--no-prompt", "--permission-set=test", `--allow-run=${Deno.execPath()}`, ...args],
    // Tests leave nothing in the user's own.
    env: { DUALORA_CACHE: cache, ...launchEnvironment(), ...Deno.stdout.isTerminal() ? { FORCE_COLOR: "1" } : {} },
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const stopForwarding = forwardSignals(child);
  const decoder = new TextDecoder();
  let output = "";
  for await (const bytes of child.stdout) {
    await Deno.stdout.write(bytes);
    output += decoder.decode(bytes, { stream: true });
  }
  const { success } = await child.status;
  stopForwarding();
  return countTests(output, success);
}

if (Deno.args.some((word) => word === "--help" || word === "-h")) {
  console.log(
    "Usage: deno task test [files or folders] [flags of deno test]\n\n" +
      "Runs tests, all of them when no file is named, and ends with a line `N passed, N failed`.\n" +
      "`--filter <text>` chooses by name; deno test --help lists the other flags.",
  );
  Deno.exit(0);
}
await setUpOrExit();
const madeHere = join(projectFolder, "out");
await mkdir(madeHere, { recursive: true });
const cache = await Deno.makeTempDir({ dir: madeHere, prefix: "test-cache-" });
const paths: string[] = [], flags: string[] = [];
for (const [at, word] of Deno.args.entries()) {
  const isValue = Deno.args[at - 1] === "--filter";
  (!isValue && await isPath(word) ? paths : flags).push(word);
}
const write = `--allow-write=${tmpdir()},${cache}`;
/** Folders of tests that run in a process of their own, with its flags. */
const apart: readonly (readonly [folder: string, flags: readonly string[]])[] = [
  // They look at the most memory that the process ever had; others have more.
  ["tests/fuzz", [write]],
  // The hub's cache has links, for which Deno has no narrower permission than to write everywhere.
  ["tests/network", ["--allow-write", "--allow-net=127.0.0.1"]],
];
const together = paths.filter((path) => !apart.some(([folder]) => isIn(folder, path)));
const results: { passed: number; failed: number }[] = [];
if (paths.length === 0 || together.length > 0) {
  const ignored = apart.map(([folder]) => folder).join(",");
  results.push(await runTests(["--doc", write, `--ignore=${ignored}`, ...flags, ...together]));
}
for (const [folder, own] of apart) {
  const isWhole = paths.length === 0 || together.some((path) => isIn(path, join(projectFolder, folder)));
  const inside = isWhole ? [folder] : paths.filter((path) => isIn(folder, path));
  if (inside.length > 0) results.push(await runTests([...own, ...flags, ...inside]));
}
await Deno.remove(cache, { recursive: true });
const [passed, failed] = (["passed", "failed"] as const).map((key) =>
  results.reduce((sum, result) => sum + result[key], 0)
);
if (passed + failed === 0) console.error("No test ran");
console.log(`${passed} passed, ${failed} failed`);
Deno.exit(passed > 0 && failed === 0 ? 0 : 1);
