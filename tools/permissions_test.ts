import { deepEqual, rejects } from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheFolder } from "../steps/values/cache_folder.ts";
import { needsDevice, permissionFlags } from "./permissions.ts";

const base = "--pretrained_model_name_or_path";

/** The set and what is given beside it, for a line such as `cli/main.ts train --output_dir out`. */
async function given(line: string): Promise<string[]> {
  const [script, ...args] = line.split(" ");
  const flags = await permissionFlags(
    new URL(`../${script}`, import.meta.url).pathname,
    args,
    (path) => path === "models/sd15",
  );
  return flags.filter((flag) => /^--(permission-set|allow-write)/.test(flag)).map((flag) =>
    flag.replace("--permission-set=", "").replace(new RegExp(`[=,]${RegExp.escape(cacheFolder())}$`), "")
  ).filter((flag) => flag !== "--allow-write");
}

/** Whether a line may use the network. */
async function isOnline(line: string): Promise<boolean> {
  return (await given(line))[0].endsWith("_hub");
}

Deno.test("A program may write where its command line says, and nowhere else", async () => {
  deepEqual(await given(`cli/main.ts train ${base} toy --output_dir a/b`), ["train", "--allow-write=a/b"]);
  deepEqual(
    await given("cli/main.ts train --output_dir=a --logging_dir b --logging_dir_2 c --train_data_dir d"),
    ["train", "--allow-write=a,b,c"],
  );
  deepEqual(
    await given("cli/main.ts train --output_dir a --config_file c/d --output_config"),
    ["train", "--allow-write=a,c"],
  );
  deepEqual(await given("cli/main.ts train --nonsense --output_dir a"), ["train"]);
  deepEqual(await given("cli/main.ts train --help"), ["train"]);
  deepEqual(await given("cli/main.ts rerun out/run.json --output_dir a"), ["rerun"]);
  deepEqual(await given("cli/main.ts new"), ["new", "--allow-write=."]);
  deepEqual(await given("cli/main.ts inspect a/b.safetensors"), ["lora"]);
  deepEqual(await given("cli/main.ts measure a/b c/d"), ["lora"]);
  deepEqual(await given("cli/main.ts measure a/b c/d --json e/f --html=g/h"), ["lora", "--allow-write=e,g"]);
  deepEqual(await given("cli/main.ts measure a/b c/d --base toy --output_dir=e"), ["train", "--allow-write=e"]);
  // What stands last counts, as in the command.
  deepEqual(await given("cli/main.ts measure a/b c/d --base toy --output_dir e --output_dir=f"), [
    "train",
    "--allow-write=f",
  ]);
  deepEqual(await given("cli/main.ts sweep --help"), ["lora"]);
  deepEqual(await given("cli/main.ts sweep gather a/b"), ["lora", "--allow-write=a/b"]);
  deepEqual(await given("cli/main.ts sweep run a/b seed-1"), ["sweep", "--allow-write=a/b"]);
  deepEqual(await given("cli/main.ts sweep none.toml --output_dir=a"), ["sweep"]);
  deepEqual(await given("cli/main.ts convert a/b c/d --to kohya"), ["lora", "--allow-write=c"]);
  deepEqual(await given("cli/main.ts convert --alpha fold a/b --to=kohya c/d"), ["lora", "--allow-write=c"]);
  for (const tool of ["merge --models a b", "resize --model a", "extract --model_org a --model_tuned b"]) {
    deepEqual(await given(`cli/main.ts ${tool} --save_to=c/d`), ["lora", "--allow-write=c"]);
    deepEqual(await given(`cli/main.ts ${tool} --save_to d`), ["lora", "--allow-write=."]);
  }
  deepEqual(await given("cli/main.ts completion bash"), ["lora"]);
  deepEqual(await given("examples/demo.ts --quick"), ["example", "--allow-write=out"]);
  deepEqual(await given("examples/demo.ts --output_dir=a/b"), ["example", "--allow-write=out,a/b"]);
  deepEqual(await given("examples/compare.ts --output_dir a"), ["train", "--allow-write=out,a"]);
  deepEqual(await given("bench/main.ts"), ["bench"]);
  deepEqual(await given("bench/peers/main.ts --out a/b"), ["bench", "--allow-write=/tmp,a"]);
  deepEqual(await given("bench/gpu/main.ts"), ["bench", "--allow-write=/tmp,out/gpu"]);
  deepEqual(await given("bench/gpu/main.ts --trial --out=a/b"), ["bench", "--allow-write=/tmp,a/b"]);
  deepEqual(await given("bench/gpu/dual_step.ts --mode=both --html=a/b"), ["bench", "--allow-write=/tmp,a"]);
  deepEqual(await given("bench/gpu/kernels.ts --rest"), ["bench"]);
  deepEqual(await given("bench/loading.ts toy"), ["loading"]);
  deepEqual(await given("tools/probe/main.ts unet --output a/b"), ["probe", "--allow-write=a"]);
  deepEqual(await given("dashboard/main.ts"), ["dashboard", "--allow-write=out"]);
  deepEqual(await given("dashboard/main.ts --port 80 a/b"), ["dashboard", "--allow-write=a/b"]);
  deepEqual(await given("dashboard/main.ts a/b --port=80"), ["dashboard", "--allow-write=a/b"]);
  deepEqual(await given("bench/profile/main.ts --replay examples/demo.ts --quick"), ["example", "--allow-write=out"]);
  deepEqual(await given("bench/profile/main.ts my_recipe.ts"), ["recipe"]);
  deepEqual(await given("my_recipe.ts"), ["recipe"]);
});

Deno.test("The machine is set up for programs that compute on a device, and not for one that is asked for help", () => {
  const needs = (line: string) => {
    const [script, ...args] = line.split(" ");
    return needsDevice(new URL(`../${script}`, import.meta.url).pathname, args);
  };
  const computing = ["cli/main.ts train --seed=1", "examples/demo.ts --quick", "cli/main.ts measure a b --base toy"];
  for (const line of [...computing, "bench/main.ts", "tools/probe/main.ts unet", "my_recipe.ts"]) {
    deepEqual([needs(line), needs(`${line} --help`), needs(`${line} -h`)], [true, false, false], line);
  }
  const reading = ["inspect a", "measure a b", "convert a b", "resize --model a", "sweep gather a", "new"];
  for (const line of [...reading.map((words) => `cli/main.ts ${words}`), "dashboard/main.ts"]) {
    deepEqual(needs(line), false, line);
  }
});

Deno.test("Programs that start others may start those alone", async () => {
  const started = async (line: string) => {
    const [script, ...args] = line.split(" ");
    const flags = await permissionFlags(new URL(`../${script}`, import.meta.url).pathname, args);
    return flags.filter((flag) => flag.startsWith("--allow-run")).map((flag) => flag.replace(Deno.execPath(), "deno"));
  };
  for (const script of ["tests/torture/main.ts", "bench/main.ts", "bench/large_data.ts"]) {
    deepEqual(await started(script), ["--allow-run=deno"]);
  }
  deepEqual(await started("bench/gpu/main.ts --python=/opt/python"), ["--allow-run=deno,/opt/python,nvidia-smi"]);
  deepEqual(await started("bench/peers/main.ts"), ["--allow-run=deno,python3"]);
  deepEqual(await started("bench/peers/dual_step.ts --python=/opt/python"), ["--allow-run=/opt/python"]);
  for (const script of ["cli/main.ts train", "cli/main.ts inspect a", "examples/demo.ts", "bench/loading.ts", "a.ts"]) {
    deepEqual(await started(script), []);
  }
});

Deno.test("Where the environment tells the linker where libraries are, Deno lets those programs start others that may start any", async () => {
  const flags = async (script: string, environment: Record<string, string>) =>
    (await permissionFlags(new URL(`../${script}`, import.meta.url).pathname, [], () => false, environment))
      .filter((flag) => flag.startsWith("--allow-run"));
  deepEqual(await flags("bench/main.ts", { LD_LIBRARY_PATH: "/opt/lib", HOME: "/root" }), ["--allow-run"]);
  deepEqual(await flags("bench/main.ts", { DYLD_LIBRARY_PATH: "/opt/lib" }), ["--allow-run"]);
  deepEqual(await flags("bench/main.ts", { LD_LIBRARY_PATH: "", OLD_PATH: "a" }), [`--allow-run=${Deno.execPath()}`]);
  deepEqual(await flags("bench/loading.ts", { LD_LIBRARY_PATH: "/opt/lib" }), []);
});

Deno.test("A folder with a comma in its name, which Deno's flags cannot say, is stood for by the one above", async () => {
  deepEqual(await given("cli/main.ts train --output_dir a/b,c/d"), ["train", "--allow-write=a"]);
});

Deno.test("The root never stands for a folder with a comma in its name: it is refused by name", async () => {
  await rejects(given("cli/main.ts train --output_dir /a,b/runs"), {
    name: "UnsayablePathError",
    message: /^Cannot open \/a,b\/runs .* above without one is \/, .* rename the folder, or name it by a link/,
  });
});

Deno.test("The network is given for names of models alone that are no paths here", async () => {
  deepEqual(await isOnline(`cli/main.ts train ${base}=owner/name --output_dir out`), true);
  deepEqual(await isOnline("cli/main.ts measure a b --base owner/name"), true);
  deepEqual(await isOnline("cli/main.ts measure a b --base ./owner/name"), false);
  deepEqual(await isOnline("cli/main.ts measure a b --base toy --vae owner/vae"), true);
  deepEqual(await isOnline(`cli/main.ts train ${base} owner/name@fp16`), true);
  deepEqual(await isOnline(`cli/main.ts train ${base} models/sd15 ${base} owner/name`), true);
  deepEqual(await isOnline(`cli/main.ts train ${base} models/sd15 ${base}_2 owner/name`), true);
  deepEqual(await isOnline(`cli/main.ts train ${base} models/sd15 --vae owner/vae`), true);
  deepEqual(await isOnline(`cli/main.ts train --pretrained_model_name_or_path_2 owner/name`), true);
  deepEqual(await isOnline(`cli/main.ts train ${base} models/sd15 --output_dir owner/name`), false);
  deepEqual(await isOnline(`cli/main.ts train ${base} ./owner/name --vae models/vae/vae.pt`), false);
  deepEqual(await isOnline(`cli/main.ts train ${base}`), false);
  deepEqual(await isOnline(`cli/main.ts train --nonsense --vae owner/vae`), false);
  deepEqual(await isOnline(`examples/compare.ts ${base}=owner/name`), true);
  deepEqual(await isOnline(`examples/demo.ts ${base}=owner/name`), false);
});

Deno.test("A flag that names no folder is refused by its name before a program starts", async () => {
  for (const args of ["--output_dir=", "--quick --output_dir"]) {
    await rejects(given(`examples/demo.ts ${args}`), {
      name: "UnsayablePathError",
      message: "--output_dir names nothing, must name a path; give one, or leave the flag out",
    });
  }
});

Deno.test("What a settings file names counts as what the command line names", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const file = join(folder, "settings.toml");
    await writeFile(file, '[model]\npretrained_model_name_or_path = "owner/name"\noutput_dir = "a"\n');
    deepEqual(await given(`cli/main.ts train --config_file=${file}`), ["train_hub"]);
    await writeFile(file, '[model]\npretrained_model_name_or_path = "toy"\noutput_dir = "a"\n');
    deepEqual(await given(`cli/main.ts train --config_file=${file}`), ["train", "--allow-write=a"]);
    await writeFile(file, 'output_dir = "a"\n[grid]\npretrained_model_name_or_path = ["toy", "owner/name"]\n');
    deepEqual(await given(`cli/main.ts sweep ${file}`), ["sweep_hub"]);
    await writeFile(file, 'output_dir = "a"\nseeds = [1]\n[settings]\npretrained_model_name_or_path = "toy"\n');
    deepEqual(await given(`cli/main.ts sweep --local ${file}`), ["sweep", "--allow-write=a"]);
    deepEqual(await given(`cli/main.ts sweep --output_dir b ${file}`), ["sweep", "--allow-write=b"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
