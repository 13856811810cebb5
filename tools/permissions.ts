/**
 * What each program here may do: a named set of `deno.json`, and beside it what its command line names.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { dirname, relative, resolve, sep } from "node:path";
import project from "../deno.json" with { type: "json" };
import { isHubId } from "../models/checkpoint/hub.ts";
import { cacheFolder } from "../steps/values/cache_folder.ts";
import { projectFolder } from "./project_files.ts";

const { permissions } = project;

/** Folders that a program writes to, by the words behind its script, and the models it asks for. */
type Places = (args: readonly string[]) => Promise<{ written: readonly string[]; models: readonly string[] }>;

const nowhere: Places = () => Promise.resolve({ written: [], models: [] });
const into = (...written: string[]): Places => () => Promise.resolve({ written, models: [] });
/** A file is written beside itself first, so its folder counts. */
const besideOption = (...names: string[]): Places => (args) =>
  Promise.resolve({ written: names.flatMap((name) => valuesOf(name, args)).map(dirname), models: [] });

const intoOption = (name: string, usual: string): Places => (args) =>
  Promise.resolve({ written: [valuesOf(name, args).at(-1) ?? usual], models: [] });

/** What a program's set in `deno.json` is called, the places that its command line opens, and the programs that it starts. */
interface Program {
  readonly set: string;
  readonly places: Places;
  /** Their names or paths. `deno.json` cannot say where Deno itself is. */
  readonly runs?: (args: readonly string[]) => readonly string[];
}

const deno = () => [Deno.execPath()];
const denoAndPython = (args: readonly string[]) => [Deno.execPath(), ...pythons(args)];
const pythons = (args: readonly string[]) => [valuesOf("python", args).at(-1) ?? "python3"];

/** Scripts from elsewhere, such as recipes that somebody wrote: they say themselves what they write. */
const ownScript: Program = { set: "recipe", places: nowhere };

/** Programs that are told by their script alone. */
const programs: Readonly<Record<string, Program>> = {
  "bench/main.ts": { set: "bench", places: nowhere, runs: deno },
  "bench/loading.ts": { set: "loading", places: nowhere },
  "bench/large_data.ts": { set: "bench", places: nowhere, runs: deno },
  "bench/peers/main.ts": { set: "bench", places: besideOption("out"), runs: denoAndPython },
  "bench/peers/dual_step.ts": { set: "bench", places: besideOption("out"), runs: pythons },
  "bench/gpu/main.ts": {
    set: "bench",
    places: intoOption("out", "out/gpu"),
    runs: (args) => [...denoAndPython(args), "nvidia-smi"],
  },
  "bench/gpu/adapter.ts": { set: "bench", places: nowhere },
  "bench/gpu/kernels.ts": { set: "bench", places: nowhere },
  "bench/gpu/tiles.ts": { set: "bench", places: nowhere },
  "bench/gpu/dual_step.ts": { set: "bench", places: besideOption("html") },
  "bench/peers/dualora.ts": { set: "peer", places: nowhere },
  "tools/notebooks/main.ts": { set: "notebooks", places: nowhere, runs: pythons },
  "tests/soak/main.ts": { set: "soak", places: nowhere },
  "tests/torture/main.ts": { set: "torture", places: nowhere, runs: deno },
  "tests/drivers/main.ts": { set: "drivers", places: nowhere, runs: deno },
  "tests/slurm/main.ts": { set: "slurm", places: nowhere },
};

/** The program that words of `deno run` start. */
function programOf(path: string, args: readonly string[]): Program {
  const script = relative(projectFolder, resolve(path)).split(sep).join("/");
  if (script === "cli/main.ts") {
    const [command, ...rest] = args;
    if (command === "train") return { set: "train", places: () => trainPlaces(rest) };
    if (command === "rerun") return { set: "rerun", places: nowhere, runs: deno };
    if (command === "sweep") return sweepProgram(rest);
    if (command === "new") return { set: "new", places: into(".") };
    if (command === "convert") return { set: "lora", places: into(...converted(rest).map(dirname)) };
    if (command === "measure") return measurement(rest);
    return { set: "lora", places: besideOption("save_to") };
  }
  // It takes data and bases from elsewhere, as `train` does.
  if (script === "examples/compare.ts") return { set: "train", places: comparisonPlaces };
  if (script.startsWith("examples/")) {
    return {
      set: "example",
      places: (args) => Promise.resolve({ written: ["out", ...valuesOf("output_dir", args)], models: [] }),
    };
  }
  if (script === "bench/profile/main.ts") {
    const recipe = args.find((word) => !word.startsWith("-")) ?? "";
    return programOf(recipe, []).set === "example" ? { set: "example", places: into("out") } : ownScript;
  }
  // It reads there as well: what it writes are control files.
  if (script === "dashboard/main.ts") return { set: "dashboard", places: into(watchedFolder(args)) };
  if (script === "tools/probe/main.ts") return { set: "probe", places: besideOption("output") };
  return Object.hasOwn(programs, script) ? programs[script] : ownScript;
}

/** With a base it takes data and models from elsewhere, as `train` does. */
function measurement(args: readonly string[]): Program {
  const bases = valuesOf("base", args), folder = valuesOf("output_dir", args).at(-1) ?? "out/measure";
  const models = [...bases, ...valuesOf("vae", args)];
  if (bases.length === 0) return { set: "lora", places: besideOption("json", "html") };
  return { set: "train", places: () => Promise.resolve({ written: [folder], models }) };
}

const comparisonPlaces: Places = (args) =>
  Promise.resolve({
    written: ["out", ...valuesOf("output_dir", args)],
    models: valuesOf("pretrained_model_name_or_path", args),
  });

async function trainPlaces(args: readonly string[]): ReturnType<Places> {
  // Other programs start without the command line's own parts.
  const { namedPlaces } = await import("../cli/settings/named_places.ts");
  return await namedPlaces(args);
}

/** It starts its runs as programs of their own; gathering only reads and writes. */
function sweepProgram(args: readonly string[]): Program {
  const [first, ...others] = args.filter((word, at) => !word.startsWith("-") && args[at - 1] !== "--output_dir");
  // The program says that it is missing, or what help says.
  if (first === undefined) return { set: "lora", places: nowhere };
  if (first === "gather") return { set: "lora", places: into(...others) };
  if (first === "run") return { set: "sweep", places: into(...others.slice(0, 1)), runs: deno };
  const places: Places = async () => {
    const { sweepPlaces } = await import("../cli/sweep/sweep_places.ts");
    return await sweepPlaces(first, valuesOf("output_dir", args).at(-1));
  };
  return { set: "sweep", places, runs: deno };
}

/**
 * Values of an option, behind a blank or a `=`: paths.
 *
 * @throws {UnsayablePathError} If there is none, or an empty one.
 */
function valuesOf(name: string, args: readonly string[]): string[] {
  const values = args.flatMap((word, at) =>
    word === `--${name}` ? [args[at + 1] ?? ""] : word.startsWith(`--${name}=`) ? [word.slice(name.length + 3)] : []
  );
  if (values.includes("")) {
    throw new UnsayablePathError(`--${name} names nothing, must name a path; give one, or leave the flag out`);
  }
  return values;
}

/** The folder whose runs the dashboard shows. */
function watchedFolder(args: readonly string[]): string {
  return args.find((word, at) => !word.startsWith("-") && args[at - 1] !== "--port") ?? "out";
}

/** The file that `convert` writes: its second word that belongs to no option. */
function converted(args: readonly string[]): string[] {
  const plain = args.filter((word, at) => !word.startsWith("-") && !["--to", "--alpha"].includes(args[at - 1]));
  return plain.slice(1, 2);
}

/**
 * The flags of `deno run` that give a program its permissions: its set in `deno.json`, writing in the folders that its command line names, starting the
 * programs that it needs, and the network where the command line names a model that is the hub's.
 *
 * @param script Path of the script.
 * @param args What stands behind it.
 * @param exists Whether a path is there; such a model is a folder or file, not the hub's.
 * @param environment Of the program.
 */
export async function permissionFlags(
  script: string,
  args: readonly string[],
  exists: (path: string) => boolean = existsSync,
  environment: Readonly<Record<string, string>> = Deno.env.toObject(),
): Promise<string[]> {
  const program = programOf(script, args), { set } = program, { written, models } = await program.places(args);
  // The hub's cache has links, and who may make links may write everywhere: Deno gives no narrower permission.
  const isOnline = models.some((name) => isHubId(name) && !exists(name));
  return [
    ...isOnline ? setFlags(`${set}_hub`) : setFlags(set, [...written, ...keptBy(set)]),
    ...runFlags(program, args, environment),
  ];
}

/**
 * Whose environment tells the system's linker where libraries are, as on clusters and in containers with a graphics driver, starts no program from Deno
 * unless it may start any.
 */
function runFlags({ runs }: Program, args: readonly string[], environment: Readonly<Record<string, string>>): string[] {
  if (!runs) return [];
  const isLinking = Object.entries(environment).some(([name, value]) => /^(LD|DYLD)_/.test(name) && value !== "");
  return [isLinking ? "--allow-run" : `--allow-run=${runs(args).join(",")}`];
}

/**
 * Whether a program computes on a device, for which the machine has to be set up; `rerun` and `sweep` start the program that does by the launcher, again.
 * Who asks for help gets it as the machine is.
 */
export function needsDevice(script: string, args: readonly string[]): boolean {
  if (args.includes("--help") || args.includes("-h")) return false;
  return !["dashboard", "lora", "new", "rerun", "sweep"].includes(programOf(script, args).set);
}

/** As {@linkcode permissionFlags}, for a program that writes into one folder and asks for no model of the hub's. */
export function permissionFlagsWithin(folder: string, script: string, args: readonly string[]): string[] {
  const program = programOf(script, args), { set } = program;
  return [...setFlags(set, [folder, ...keptBy(set)]), ...runFlags(program, args, {})];
}

/** What programs that train keep between runs of all recipes. */
function keptBy(set: string): string[] {
  return ["train", "sweep", "example", "soak"].includes(set) ? [cacheFolder()] : [];
}

/** Flags that give a program a set of `deno.json`, and beside it writing in folders. */
export function setFlags(set: string, written: readonly string[] = []): string[] {
  const given = permissions[set as keyof typeof permissions] as Partial<Record<"read" | "write", boolean | string[]>>;
  const own = (paths: boolean | string[] | undefined) =>
    Array.isArray(paths) ? paths.map((path) => resolve(projectFolder, path)) : [];
  const list = (paths: readonly string[]) => [...new Set(paths.map(withoutComma))].join(",");
  const [readable, writable] = [[...own(given.read), ...written], [...own(given.write), ...written]];
  return [
    // Deno calls sets of permissions experimental with every start.
    "--quiet",
    "--no-prompt",
    `--permission-set=${set}`,
    // A flag takes the place of what the set says.
    ...written.length > 0 && given.write !== true ? [`--allow-write=${list(writable)}`] : [],
    ...written.length > 0 && given.read !== true ? [`--allow-read=${list(readable)}`] : [],
  ];
}

/** A path that cannot be opened to a program alone, or none where a flag has to name one. */
export class UnsayablePathError extends Error {
  override name = "UnsayablePathError";
}

/**
 * Deno separates paths by commas, and knows no other way to write one: the folder above stands for such a path.
 *
 * @throws {UnsayablePathError} Where that is the root: then a program could write everywhere.
 */
function withoutComma(path: string): string {
  let open = path;
  while (open.includes(",")) open = dirname(open);
  if (open !== path && open === dirname(open)) {
    throw new UnsayablePathError(
      `Cannot open ${path} to a program alone: Deno separates paths by commas, and the nearest folder above without one is ${open}, the whole machine; ` +
        "rename the folder, or name it by a link whose path has no comma",
    );
  }
  return open;
}
