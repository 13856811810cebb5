import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { inNewFolder } from "../examples/run_example.ts";

const project = fileURLToPath(new URL("../../", import.meta.url));
const { permissions, tasks } = JSON.parse(await readFile(join(project, "deno.json"), "utf8"));

const nothing = { ignore: true };
const kept = { allow: ["DUALORA_CACHE"], ignore: true };
const keptAndDriver = { allow: ["DUALORA_CACHE", "DUALORA_DRIVER"], ignore: true };
const hub = {
  allow: [
    "DUALORA_CACHE",
    "DUALORA_DRIVER",
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "HUGGINGFACE_HUB_CACHE",
    "XDG_CACHE_HOME",
  ],
  ignore: true,
};
const ffi = ["node_modules"], projectAndLdd = [".", "/usr/bin/ldd"];

/** What was looked at and found to be needed; docs/reliability.md says what for. Whoever changes a set changes it here as well. */
const reviewed = {
  launch: {
    read: true,
    write: ["/etc/apt/sources.list.d", "out"],
    env: {
      allow: ["DENO_WEBGPU_BACKEND", "DUALORA_CACHE", "DYLD_*", "LD_*", "LOCALAPPDATA", "TMPDIR", "XDG_CACHE_HOME"],
      ignore: true,
    },
    sys: ["homedir", "uid"],
    run: true,
  },
  train: { read: true, env: keptAndDriver, sys: ["hostname", "statfs", "systemMemoryInfo"], ffi },
  train_hub: {
    read: true,
    write: true,
    env: hub,
    net: true,
    sys: ["homedir", "hostname", "statfs", "systemMemoryInfo"],
    ffi,
  },
  sweep: {
    read: true,
    env: { allow: ["DUALORA_CACHE", "PATH"], ignore: true },
    sys: ["hostname", "statfs", "systemMemoryInfo"],
    ffi,
  },
  sweep_hub: {
    read: true,
    write: true,
    env: { allow: [...hub.allow.filter((name) => name !== "DUALORA_DRIVER"), "PATH"].sort(), ignore: true },
    net: true,
    sys: ["homedir", "hostname", "statfs", "systemMemoryInfo"],
    ffi,
  },
  lora: { read: true, env: nothing },
  rerun: { read: true, env: nothing },
  new: { read: true, env: nothing },
  browser: { all: true },
  dashboard: {
    read: ["dashboard/page", "node_modules", "pipeline/text.ts", "steps/report/smooth.ts"],
    env: nothing,
    net: ["127.0.0.1"],
  },
  recipe: { read: true, write: true, env: hub, sys: ["homedir", "hostname", "statfs", "systemMemoryInfo"], ffi },
  example: { read: projectAndLdd, env: keptAndDriver, sys: ["hostname", "statfs", "systemMemoryInfo"], ffi },
  notebook: {
    read: projectAndLdd,
    env: {
      allow: ["DUALORA_CACHE", "DUALORA_NOTEBOOK", "DUALORA_NOTEBOOK_FIGURES", "DUALORA_NOTEBOOK_FOLDER"],
      ignore: true,
    },
    sys: ["hostname", "statfs", "systemMemoryInfo"],
    ffi,
  },
  notebooks: {
    read: true,
    write: ["examples/notebooks", "out"],
    env: { allow: ["DENO_WEBGPU_BACKEND"], ignore: true },
  },
  bench: { read: [".", "/tmp"], write: ["/tmp"], env: nothing },
  peer: { read: ["."], env: nothing },
  drivers: { read: true, env: nothing },
  torture: { read: [".", "/usr/bin/ldd", "/tmp"], write: ["/tmp"], env: kept, ffi },
  slurm: { read: true, write: ["/tmp"], env: kept, net: ["127.0.0.1"], run: true, sys: ["hostname"], ffi },
  soak: {
    read: [".", "/usr/bin/ldd", "/tmp"],
    write: ["/tmp"],
    env: kept,
    sys: ["hostname", "statfs", "systemMemoryInfo"],
    ffi,
    run: ["ls"],
  },
  loading: { read: true, env: nothing },
  probe: { read: true, env: nothing },
  memory: { read: [".", "/tmp"], write: ["docs/memory.md", "/tmp"], env: nothing },
  check: { read: true, write: ["out"], run: true },
  test: {
    read: true,
    env: { allow: ["DENO_WEBGPU_BACKEND", "DUALORA_ALL_GOLDENS", "DUALORA_CACHE", "FUZZ_TIMES"], ignore: true },
    sys: ["hostname", "statfs", "systemMemoryInfo"],
    ffi,
  },
};

Deno.test("The sets of permissions are those that were reviewed", () => deepEqual(permissions, reviewed));

Deno.test("Every task that runs a script runs it with a set of permissions", () => {
  for (const [name, line] of Object.entries<string>(tasks)) {
    for (const [command] of line.matchAll(/deno run .*?(?=&&|$)/g)) {
      match(command, /^deno run -q -P=\w+ \S+\.ts/, name);
      ok(Object.hasOwn(permissions, /-P=(\w+)/.exec(command)![1]), name);
    }
  }
});

async function denoRun(args: readonly string[], folder: string, env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", ...args],
    cwd: folder,
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

const granted = join(project, "tests", "permissions", "granted.ts");
const lookedAt = join(project, "tests", "permissions", "looked_at.ts");
const offline = Object.keys(reviewed).filter((name) =>
  !["launch", "check", "train_hub", "sweep_hub", "slurm", "soak", "dashboard", "browser"].includes(name)
);

for (const set of offline) {
  Deno.test(`${set} has no network, no commands and none of the environment but what its set names`, () =>
    inNewFolder(async (folder) => {
      const secrets = { SECRET: "a", AWS_SECRET_ACCESS_KEY: "b", HF_TOKEN: "c", HTTP_PROXY: "" };
      const flags = ["--quiet", "--no-prompt", `--config=${project}deno.json`, `--permission-set=${set}`];
      const { stdout, stderr } = await denoRun([...flags, granted], folder, secrets);
      ok(stdout !== "", stderr);
      const found = JSON.parse(stdout), { env, write } = permissions[set];
      for (const kind of ["net", "run", "env", "ffi", "sys"]) ok(!found.granted.includes(kind), kind);
      deepEqual([found.network, found.commands], ["prompt", "prompt"]);
      equal(found.outside, write === true ? "granted" : "prompt");
      for (const name of found.environment) ok(env.allow?.includes(name), name);
      equal(found.environment.includes("HF_TOKEN"), env.allow?.includes("HF_TOKEN") ?? false);
    }));
}

Deno.test("dashboard may use the network of this machine alone, writes nowhere by its set, and has no commands and no environment", () =>
  inNewFolder(async (folder) => {
    const flags = ["--quiet", "--no-prompt", `--config=${project}deno.json`, "--permission-set=dashboard"];
    const { stdout } = await denoRun([...flags, granted], folder, { SECRET: "a" });
    const found = JSON.parse(stdout);
    deepEqual([found.granted, found.network, found.elsewhere], [[], "granted", "prompt"]);
    deepEqual([found.outside, found.commands, found.environment], ["prompt", "prompt", []]);
  }));

const toy = ["--pretrained_model_name_or_path=toy", `--train_data_dir=${project}assets/toy/demo/character`];

/** Flags that give what a set does but one kind, or one name of `sys`; `--deny-…` does not take back what a set lists. */
function flagsWithout(kind: string, set: keyof typeof reviewed, folder: string): string[] {
  const granted = { write: [folder], ...permissions[set] };
  return ["--quiet", "--no-prompt", `--config=${project}deno.json`].concat(
    Object.entries<true | string[] | { allow?: string[]; ignore: true }>(granted).flatMap(([name, value]) => {
      if (name === kind) return [];
      if (value === true) return [`--allow-${name}`];
      if (!Array.isArray(value)) {
        return ["--ignore-env", ...value.allow ? [`--allow-env=${value.allow.join(",")}`] : []];
      }
      const isPaths = !["sys", "net"].includes(name),
        own = name === "read" ? [folder] : [],
        left = value.filter((each) => each !== kind);
      return [`--allow-${name}=${[...left.map((each) => isPaths ? resolve(project, each) : each), ...own].join(",")}`];
    }),
  );
}

const lora = join(project, "tests/golden/files/lora_files/small_f16.safetensors");

/** What programs are run with, and the permissions that each has; without one of them it has to fail. */
const needed: readonly (readonly [keyof typeof reviewed, words: readonly string[], kinds: readonly string[]])[] = [
  ["train", ["cli/main.ts", "train", ...toy, "--resolution=64", "--output_dir=out"], ["read", "write", "ffi", "env"]],
  ["lora", ["cli/main.ts", "inspect", lora], ["read", "env"]],
  ["lora", ["cli/main.ts", "convert", lora, "a.safetensors"], ["write"]],
  ["new", ["cli/main.ts", "new"], ["env"]],
  ["example", ["examples/demo.ts", "--quick"], ["read", "write", "ffi", "env"]],
  ["peer", ["bench/peers/dualora.ts"], ["read"]],
  ["dashboard", ["dashboard/main.ts", "."], ["read", "net"]],
  ["probe", ["tools/probe/main.ts", "sampler", `--input=${lora}`, "--output=a"], ["read"]],
  ["launch", ["tools/launch.ts", join(project, "cli/main.ts"), "train", "--config_file=a"], ["read", "run", "sys"]],
  ["check", ["tools/check_imports.ts"], ["read", "write", "run"]],
];

for (const [set, [script, ...args], kinds] of needed) {
  for (const kind of kinds) {
    Deno.test(`${set} does not work without the permission ${kind}`, () =>
      inNewFolder(async (folder) => {
        const words = [...flagsWithout(kind, set, folder), join(project, script), ...args];
        const { code, stderr } = await denoRun(words, folder);
        notEqual(code, 0);
        // Without reading, sharp asks for something else before it is refused.
        match(stderr, kind === "read" ? /Requires \w+ access/ : new RegExp(`Requires ${kind} access`));
      }));
  }
}

Deno.test("What train may know of the machine it needs for locks, the room on the disk and the memory", () =>
  inNewFolder(async (folder) => {
    const known = async (kind: string) => {
      const { stdout, stderr } = await denoRun([...flagsWithout(kind, "train", folder), lookedAt], folder);
      ok(stdout !== "", stderr);
      return JSON.parse(stdout);
    };
    const all = { hostname: true, statfs: true, systemMemoryInfo: true };
    deepEqual(await known("nothing"), all);
    deepEqual(permissions.train.sys, Object.keys(all));
    for (const kind of permissions.train.sys) deepEqual(await known(kind), { ...all, [kind]: false });
  }));

Deno.test("The launcher gives a program its set, and the folder that its command line names", () =>
  inNewFolder(async (folder) => {
    const launch = ["-q", `--config=${project}deno.json`, "-P=launch", join(project, "tools/launch.ts")];
    const { code, stderr } = await denoRun(
      [...launch, join(project, "cli/main.ts"), "convert", lora, "a.safetensors"],
      folder,
    );
    equal(code, 0, stderr);
    const { stdout } = await denoRun([...launch, granted], folder, { SECRET: "a" });
    deepEqual(JSON.parse(stdout).granted, ["read", "write"]);
    ok(!JSON.parse(stdout).environment.includes("SECRET"));
  }));
