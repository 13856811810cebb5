import { fileURLToPath } from "node:url";
import { environmentFor } from "../../tools/launch_environment.ts";
import { permissionFlags } from "../../tools/launch.ts";

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

/** Starts an example as `tools/launch.ts` does, in a process of its own, in a working folder: it writes under `out/` there. */
export function startExample(name: string, folder: string, options: ExampleOptions = {}): Deno.ChildProcess {
  const { args = ["--quick"], env = {} } = options;
  // What the test run was started with; a test may not read the processor's facts itself.
  const present = Deno.env.toObject();
  const launched = environmentFor({ os: Deno.build.os, cpuInfo: "", present, cpuVectorBits: null });
  return new Deno.Command(Deno.execPath(), {
    args: ["run", ...permissionFlags, fileURLToPath(new URL(`../../examples/${name}.ts`, import.meta.url)), ...args],
    cwd: folder,
    env: { ...launched, NO_COLOR: "1", ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Runs an example to its end; see {@linkcode startExample}. */
export async function runExample(name: string, folder: string, options: ExampleOptions = {}): Promise<ExampleResult> {
  const started = performance.now();
  const { code, stdout, stderr } = await startExample(name, folder, options).output();
  const decoder = new TextDecoder();
  return {
    code,
    stdout: decoder.decode(stdout),
    stderr: decoder.decode(stderr),
    seconds: (performance.now() - started) / 1000,
  };
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
