/**
 * Packs all that `bench:gpu` needs on a machine without a network, into one folder: `deno run -A bench/gpu/pack.ts [folder]`.
 * bench/gpu/README.md says what to do there.
 *
 * @module
 */
import {
  copyFile,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { taskCommand } from "../../cli/task_command.ts";
import { projectFolder } from "../../tools/project_files.ts";
import { packedText, projectConfig } from "./packed.ts";

const options = taskCommand("pack", "Packs all that bench:gpu needs on a machine without a network.")
  .argument("[folder]", "that is made", "out/gpu_pack")
  .option("--python-version <version>", "of the Python there", "3.12")
  .option("--without <names>", "of wheels, vulkan, gl and x11, with commas: what is there already", "")
  .parse(Deno.args, { from: "user" });
const [given] = options.processedArgs, { pythonVersion, without } = options.opts();
const folder = resolve(given), left = without.split(",").filter(Boolean);

/** Files that travel, without those that git ignores: paths from the project's folder, folders with all in them. */
const sources = [
  ...["deno.json", "mod.ts", "assets/toy", "bench", "cli", "data", "engine", "formats", "lora", "models", "pipeline"],
  ...["random", "steps", "tools", "training", "tests/strict_assert.ts", "tests/engine", "tests/full", "tests/probe"],
  ...["tests/golden/full", "tests/golden/training/dual_step/tensors.json"],
  ...["text_encoder", "unet", "vae"].map((part) => `tests/golden/models/${part}.config.json`),
];
const notNeeded = ["tools/reference", "bench/results"];
/** npm packages that these programs import at once; others, such as sharp, only where a recipe needs them. */
const packages = ["commander", "@commander-js/extra-typings", "ml-matrix", "yauzl", "yazl"];
/** Python packages beside PyTorch and transformers. A newer importlib_metadata wants one package more. */
const wheels = ["diffusers==0.42.1", "importlib_metadata==8.7.0", "zipp"];
/** Debian packages: the loader, and what NVIDIA's driver is linked with. */
const debian = {
  vulkan: ["libvulkan1"],
  gl: ["libglvnd0", "libgl1", "libglx0", "libegl1", "libopengl0", "libgles2"],
  x11: ["libx11-6", "libxext6", "libxcb1", "libxau6", "libxdmcp6", "libbsd0", "libmd0"],
};

if (Deno.build.target !== "x86_64-unknown-linux-gnu") {
  console.error(
    `Cannot pack: this Deno is for ${Deno.build.target}, it travels and must be for x86_64-unknown-linux-gnu`,
  );
  Deno.exit(2);
}
await mkdir(folder, { recursive: true });
await packDeno();
await packProject();
if (!left.includes("wheels")) {
  await inPart("wheels", async (cwd) => {
    const flags = ["--quiet", "--no-deps", "--only-binary=:all:", "--python-version", pythonVersion, "-d", "."];
    await run("python3", ["-m", "pip", "download", ...flags, ...wheels], cwd);
  });
}
for (const [name, names] of Object.entries(debian)) {
  if (!left.includes(name)) await inPart(name, (cwd) => run("apt-get", ["-qq", "download", ...names], cwd));
}
await copyFile(join(projectFolder, "bench", "gpu", "run.sh"), join(folder, "run.sh"));
console.log(packedText(folder, await sizesOf(folder)));

/** Deno's own program, compressed; again only where it is another. */
async function packDeno(): Promise<void> {
  const mark = join(folder, "deno.txt"),
    text = `deno ${Deno.version.deno}, ${(await stat(Deno.execPath())).size} bytes\n`;
  if (await readFile(mark, "utf8").catch(() => "") === text) return;
  console.error("Compressing Deno, about a minute");
  await run("sh", ["-c", 'xz -9 -c "$1" > "$2"', "sh", Deno.execPath(), join(folder, "deno.xz")], folder);
  await writeFile(mark, text);
}

async function packProject(): Promise<void> {
  const staging = await mkdtemp(join(tmpdir(), "dualora-pack-"));
  try {
    const tracked = (await run(
      "git",
      ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ...sources],
      projectFolder,
    )).split("\0").filter(Boolean);
    for (const file of tracked.filter((path) => !notNeeded.some((no) => path.startsWith(`${no}/`)))) {
      await mkdir(dirname(join(staging, file)), { recursive: true });
      await copyFile(join(projectFolder, file), join(staging, file));
    }
    for (const name of packages) await copyPackage(name, join(projectFolder, "node_modules"), staging);
    await writeFile(
      join(staging, "deno.json"),
      projectConfig(await readFile(join(projectFolder, "deno.json"), "utf8")),
    );
    await run("tar", ["-cJf", join(folder, "project.tar.xz"), "-C", staging, "."], folder);
  } finally {
    await rm(staging, { recursive: true });
  }
}

/** Copies an npm package, and what it depends on, which lies beside it in its own folder. */
async function copyPackage(name: string, from: string, staging: string): Promise<void> {
  const source = await realpath(join(from, name)), to = join(staging, "node_modules", name);
  if (await stat(to).catch(() => null)) return;
  await cp(source, to, { recursive: true });
  const { dependencies = {} } = JSON.parse(await readFile(join(source, "package.json"), "utf8"));
  const beside = source.slice(0, -name.length - 1);
  for (const dependency of Object.keys(dependencies)) await copyPackage(dependency, beside, staging);
}

/** Fills a part's folder anew; what was there stays if that fails. */
async function inPart(name: string, fill: (cwd: string) => Promise<unknown>): Promise<void> {
  const part = join(folder, name), fresh = join(folder, `.${name}`);
  await rm(fresh, { recursive: true, force: true });
  await mkdir(fresh);
  await fill(fresh);
  await rm(part, { recursive: true, force: true });
  await rename(fresh, part);
}

/** What a program prints; its errors are shown. */
async function run(command: string, args: readonly string[], cwd: string): Promise<string> {
  const { success, code, stdout } = await new Deno.Command(command, { args: [...args], cwd, stderr: "inherit" })
    .output();
  if (success) return new TextDecoder().decode(stdout);
  console.error(`Cannot pack: ${command} ${args.join(" ")} ended with ${code}`);
  Deno.exit(1);
}

async function sizesOf(folder: string): Promise<Map<string, number>> {
  const sizes = new Map<string, number>();
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name), part = path.slice(folder.length + 1).split("/")[0];
    sizes.set(part, (sizes.get(part) ?? 0) + (await stat(path)).size);
  }
  return sizes;
}
