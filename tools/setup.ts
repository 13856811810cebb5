/**
 * Makes sure that WebGPU has an adapter before anything else runs; on Debian and Ubuntu, as root, it installs Mesa's Vulkan
 * driver. Says what it does on stderr. Run alone it exits with 2 where the user has to do something first.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import {
  type AdapterFacts,
  decideDriver,
  installArguments,
  isDriverGood,
  type MachineFacts,
  planMesa,
} from "./driver_plan.ts";
import { launchEnvironment } from "./launch_environment.ts";

/** There is no usable adapter, and only the user can change that; the message says how. */
export class SetupError extends Error {
  override name = "SetupError";
}

/**
 * Checks the machine, and installs what is missing where that is possible. A second where all is there.
 *
 * @returns Name and version of the driver, where the adapter itself does not tell; null where neither does.
 * @throws {SetupError} If there is no adapter and the user has to install a driver.
 */
async function setUp(): Promise<string | null> {
  const facts = await gatherFacts();
  const decision = decideDriver(facts);
  if (decision.kind === "ready") return driverName(facts);

  const advice = decision.kind === "ask" && decision.command !== null
    ? `. To change that, run:\n\n  ${decision.command}\n`
    : "";
  if (decision.kind === "ask") {
    if (decision.required) {
      throw new SetupError(
        `${decision.reason}${advice || ". Install or update the graphics driver (Vulkan on Linux), then try again."}`,
      );
    }
    say(`Note: ${decision.reason}${advice}`);
    return driverName(facts);
  }

  say(`Set-up: ${decision.reason}; installing Mesa's Vulkan driver`);
  try {
    await installMesa(facts.osRelease);
  } catch (error) {
    if (decision.required) {
      throw new SetupError(`${decision.reason}, and it cannot be installed: ${(error as Error).message}`);
    }
    say(`Note: the driver stays as it is: ${(error as Error).message}`);
    return driverName(facts);
  }
  const adapter = await probeAdapter();
  if (adapter === null) throw new SetupError("Mesa's Vulkan driver is installed, yet WebGPU finds no adapter");
  say(`Set-up: done, the adapter is ${adapter.description}`);
  return driverName({ mesaPackage: await mesaPackageVersion() });
}

function driverName({ mesaPackage }: Pick<MachineFacts, "mesaPackage">): string | null {
  return mesaPackage === null ? null : `Mesa ${mesaPackage}`;
}

async function gatherFacts(): Promise<MachineFacts> {
  const { os } = Deno.build;
  const adapter = await probeAdapter();
  const isLinux = os === "linux";
  const mesaPackage = isLinux && adapter?.isFallbackAdapter ? await mesaPackageVersion() : null;
  const needsDetails = isLinux && !isDriverGood({ adapter, mesaPackage });
  return {
    os,
    uid: Deno.uid(),
    adapter,
    mesaPackage,
    osRelease: needsDetails ? await readIfThere("/etc/os-release") : "",
    hasOpenGl: needsDetails && adapter === null && await probeAdapter("opengl") !== null,
    aptPolicy: needsDetails ? await aptPolicy() : "",
  };
}

/** Asks WebGPU in a child process, which starts from the drivers that are there now. */
async function probeAdapter(backend?: string): Promise<AdapterFacts | null> {
  const script = fileURLToPath(new URL("./probe_adapter.ts", import.meta.url));
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-config", "--no-prompt", "--quiet", script],
    env: { ...launchEnvironment(), ...backend === undefined ? {} : { DENO_WEBGPU_BACKEND: backend } },
  }).output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`Cannot ask WebGPU for its adapter: ${decoder.decode(stderr).trim()}`);
  return JSON.parse(decoder.decode(stdout));
}

async function installMesa(osRelease: string): Promise<void> {
  await aptGet(["update"]);
  let plan = planMesa(osRelease, await aptPolicy());
  if (plan.source !== null) {
    say(`Set-up: adding ${plan.source.path}: ${plan.source.text.trim()}`);
    await Deno.writeTextFile(plan.source.path, plan.source.text);
    try {
      await aptGet(["update"]);
    } catch (error) {
      // A source that cannot be read would break every later update of the system.
      await Deno.remove(plan.source.path);
      say(`Set-up: taking ${plan.source.path} away again: ${(error as Error).message}`);
      plan = { source: null, release: null, version: null };
    }
  }
  await aptGet(installArguments(plan));
}

async function aptGet(args: string[]): Promise<void> {
  const line = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", ...args];
  say(`Set-up: ${line.join(" ")}`);
  const { success, code, stderr } = await new Deno.Command(line[0], {
    args: line.slice(1),
    env: { DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  if (!success) {
    throw new Error(`${line.join(" ")} ended with ${code}: ${new TextDecoder().decode(stderr).trim()}`);
  }
}

/** What apt knows of Mesa's Vulkan driver; empty where there is no apt. */
async function aptPolicy(): Promise<string> {
  return await outputOf("apt-cache", ["policy", "mesa-vulkan-drivers"]) ?? "";
}

/** Version of the installed package, or null. */
async function mesaPackageVersion(): Promise<string | null> {
  return await outputOf("dpkg-query", ["--show", "--showformat=${Version}", "mesa-vulkan-drivers"]) || null;
}

/** What a command prints in English; null where there is no such command. */
async function outputOf(command: string, args: string[]): Promise<string | null> {
  try {
    const { stdout } = await new Deno.Command(command, { args, env: { LC_ALL: "C" }, stderr: "null" }).output();
    return new TextDecoder().decode(stdout);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

async function readIfThere(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

/** On stderr, since stdout belongs to the program that runs afterwards. */
function say(line: string): void {
  console.error(line);
}

/** Runs {@linkcode setUp}; where the user has to do something first, says what and ends the process with exit code 2. */
export async function setUpOrExit(): Promise<string | null> {
  try {
    return await setUp();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(`Cannot start: ${error.message}`);
    Deno.exit(2);
  }
}

if (import.meta.main) {
  // Whoever imports this file starts without a command line's parts.
  const { taskCommand } = await import("../cli/task_command.ts");
  taskCommand(
    "deno task setup",
    "Makes sure that WebGPU has an adapter; on Debian and Ubuntu, as root, it installs Mesa's Vulkan driver where there is none.",
  ).parse(Deno.args, { from: "user" });
  await setUpOrExit();
}
