/**
 * Tests the kernels for GPUs with other drivers, and another compiler, than the machine's own: `deno task test:drivers`.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InvalidArgumentError } from "@commander-js/extra-typings";
import { taskCommand } from "../../cli/task_command.ts";
import { projectFolder } from "../../tools/project_files.ts";

/** What is tested, and with what in the place of the machine's own adapter. */
interface Part {
  readonly what: string;
  readonly files: readonly string[];
  readonly filter?: string;
  /** Files of this folder, one of which is run in front of the tests: once with each. */
  readonly preloads?: readonly string[];
  /** It computes, on the second driver. */
  readonly computes: boolean;
}

const dawn = join(projectFolder, "tests", "drivers", "dawn");
const ops = ["tests/engine/ops_test.ts"];
/** Tests of single kernels. */
const own = ["engine/ops/kernels", "tests/engine/group_norm_test.ts", "tests/engine/two_dispatches_test.ts"];
const parts: Readonly<Record<string, Part>> = {
  kernels: {
    what: "Dawn's compiler takes every kernel for GPUs, with WebGPU's default limits",
    files: ["tests/drivers/kernels.ts"],
    preloads: ["dawn_alone.ts"],
    computes: false,
  },
  ops: {
    what: "all ops compute their samples on the second driver, and kernels what their definitions say",
    files: [...ops, ...own],
    computes: true,
  },
  dawn: {
    what: "all ops compute their samples by Dawn on the second driver, with a GPU's kernels",
    files: ops,
    filter: "/ a GPU/",
    preloads: ["dawn_on_vulkan.ts"],
    computes: true,
  },
  order: {
    what: "a GPU's kernels compute the same whatever invocations come first",
    files: [...ops, ...own],
    filter: "/GPU|two dispatches/",
    preloads: ["reversed", "scattered", "reversed&scattered"].map((order) => `other_order.ts?${order}`),
    computes: true,
  },
  smallest: {
    what: "all ops compute their samples on the smallest adapter that WebGPU allows",
    files: ops,
    filter: "this adapter",
    preloads: ["smallest_adapter.ts"],
    computes: true,
  },
  steps: {
    what: "a dual step has the reference's figures on the smallest adapter",
    files: ["tests/probe/dual_test.ts"],
    filter: "hidden layers and the parts",
    preloads: ["smallest_adapter.ts"],
    computes: true,
  },
};

/** Where Chromium brings SwiftShader, a Vulkan driver for CPUs. */
const swiftShaders = [
  "/usr/lib/chromium",
  "/usr/lib/chromium-browser",
  "/usr/lib64/chromium-browser",
  "/opt/google/chrome",
].map((folder) => join(folder, "vk_swiftshader_icd.json"));

/** Runs a part; whether all its tests passed. */
async function run({ what, files, filter, preloads, computes }: Part, driver: string): Promise<boolean> {
  let passed = true;
  for (const preload of preloads ?? [null]) {
    console.log(`\n${what}${preload ? ` (${preload})` : ""}`);
    const { success } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["test", "--no-prompt", "--quiet", "--permission-set=test", `--allow-write=${tmpdir()}`],
        `--allow-ffi=${join(projectFolder, "node_modules")},${join(dawn, "node_modules")}`,
        ...preload ? [`--preload=${new URL(preload, import.meta.url)}`] : [],
        ...filter ? ["--filter", filter] : [],
        ...files,
      ],
      cwd: projectFolder,
      env: { DENO_WEBGPU_BACKEND: "vulkan", ...computes ? { VK_DRIVER_FILES: driver, VK_ICD_FILENAMES: driver } : {} },
    }).spawn().status;
    passed &&= success;
  }
  return passed;
}

/** Fetches Dawn, once. */
async function fetchDawn(): Promise<void> {
  const { success } = await new Deno.Command(Deno.execPath(), { args: ["install", "--quiet"], cwd: dawn }).spawn()
    .status;
  if (success) return;
  console.error("Cannot fetch Dawn, npm's webgpu: see above");
  Deno.exit(2);
}

if (import.meta.main) {
  const name = (text: string) => {
    if (Object.hasOwn(parts, text)) return text;
    throw new InvalidArgumentError(`It must be one of ${Object.keys(parts).join(", ")}.`);
  };
  const { driver, only } = taskCommand(
    "deno task test:drivers",
    "Tests the kernels for GPUs with other drivers and another compiler than the machine's own: " +
      `${Object.entries(parts).map(([name, { what }]) => `${name}: ${what}`).join("; ")}. Some minutes on two cores.`,
  )
    .option("--driver <file>", "a Vulkan driver, by its description in JSON; Chromium's SwiftShader when left out")
    .option("--only <part>", "one part alone", name)
    .parse(Deno.args, { from: "user" }).opts();
  const second = driver ?? swiftShaders.find(existsSync),
    wanted = Object.entries(parts).filter(([name]) => !only || name === only);
  if (wanted.some(([, { computes }]) => computes) && !(second && existsSync(second))) {
    console.error(
      `Cannot find a second driver: ${driver ?? swiftShaders.join(", ")} is not there. ` +
        "Install Chromium, which brings SwiftShader, on Debian and Ubuntu: apt-get install chromium; or name a driver with --driver",
    );
    Deno.exit(2);
  }
  if (wanted.some(([, { preloads }]) => preloads?.some((preload) => preload.startsWith("dawn")))) await fetchDawn();
  const failed: string[] = [];
  for (const [name, part] of wanted) if (!await run(part, second ?? "")) failed.push(name);
  console.log(failed.length > 0 ? `\nFailed: ${failed.join(", ")}` : "\nAll passed");
  Deno.exit(failed.length > 0 ? 1 : 0);
}
