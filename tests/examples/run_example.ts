import { fileURLToPath } from "node:url";
import { permissionFlagsWithin } from "../../tools/permissions.ts";

/** How an example ended. */
export interface ExampleResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly seconds: number;
}

/** How an example is started. */
export interface ExampleOptions {
  /** `--quick` when left out. */
  readonly args?: readonly string[];
  readonly env?: Record<string, string>;
}

/** Starts a script as `tools/launch.ts` does, in a process of its own, in a working folder, the only one that it may write to. */
export function startScript(path: string, folder: string, options: ExampleOptions = {}): Deno.ChildProcess {
  const { args = [], env = {} } = options;
  return new Deno.Command(Deno.execPath(), {
    args: ["run", `--config=${projectFile("deno.json")}`, ...permissionFlagsWithin(folder, path, args), path, ...args],
    cwd: folder,
    // What else there is was set for the tests, and goes on by itself.
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Starts an example; it writes under `out/` in the working folder. */
export function startExample(name: string, folder: string, options: ExampleOptions = {}): Deno.ChildProcess {
  return startScript(projectFile(`examples/${name}.ts`), folder, { args: ["--quick"], ...options });
}

/** Starts the command line: `train`, `new`, `completion`. */
export function startCommand(args: readonly string[], folder: string): Deno.ChildProcess {
  return startScript(projectFile("cli/main.ts"), folder, { args });
}

/** Runs the command line to its end. */
export async function runCommand(args: readonly string[], folder: string): Promise<ExampleResult> {
  return await resultOf(startCommand(args, folder));
}

/** Runs an example to its end; see {@linkcode startExample}. */
export async function runExample(name: string, folder: string, options: ExampleOptions = {}): Promise<ExampleResult> {
  return await resultOf(startExample(name, folder, options));
}

/** What became of a process. */
export async function resultOf(child: Deno.ChildProcess): Promise<ExampleResult> {
  const started = performance.now(), { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return {
    code,
    stdout: decoder.decode(stdout),
    stderr: decoder.decode(stderr),
    seconds: (performance.now() - started) / 1000,
  };
}

function projectFile(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}

/** A temporary folder that is gone after the test. */
export async function inNewFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "dualora-examples-" });
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
