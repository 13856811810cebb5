import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { lstat, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { planRecipe } from "../../cli/recipe/plan_recipe.ts";
import { recipeOf } from "../../cli/recipe/step_calls.ts";
import { writeFileAtomically } from "../../formats/atomic_file.ts";
import { writeFolderAtomically } from "../../formats/atomic_folder.ts";
import { convertLora } from "../../steps/lora_tools/convert.ts";
import { mergeLoras } from "../../steps/lora_tools/merge.ts";
import { resizeLora } from "../../steps/lora_tools/resize.ts";
import { inNewFolder, runCommand } from "../examples/run_example.ts";
import { settingsOfLine } from "./parse_line.ts";
import { makeLink } from "../make_link.ts";

/** Names that would lead out of a folder, that no file system takes, or that some systems keep for themselves. */
const hostile: readonly string[] = [
  ...[".mine", "../a", "a/b", "/a", "..", ".", "a\\b", "a:b", "a\u0000b", "a\nb", "<script>", "$(touch a)"],
  ...["NUL", "con", "Com1.x", "a".repeat(300), "\u00e9".repeat(80)],
];

const base = ["--pretrained_model_name_or_path=toy", "--train_data_dir=a", "--train_data_dir_2=b", "--output_dir=out"];

/** Makes a recipe of a command line, as `train` does. */
async function makeRecipe(line: readonly string[]): Promise<void> {
  recipeOf(await planRecipe(await settingsOfLine([...base, ...line])));
}

for (const flag of ["output_name", "output_name_2", "log_prefix", "log_tracker_name"]) {
  Deno.test(`--${flag} takes no name that leads out of its folder or that a file system may refuse`, async () => {
    const logs = flag.startsWith("log") ? ["--logging_dir=logs"] : [];
    await makeRecipe([...logs, `--${flag}=ha ir-1.5_(a)`]);
    for (const name of hostile) {
      // A prefix stands before a time, so that what is a name by itself need not be one.
      if (flag === "log_prefix" && ["..", ".", "NUL", "con"].includes(name)) continue;
      const line = [...logs, `--${flag}=${name}`];
      const message = new RegExp(`^--${flag}: Cannot ${logs.length > 0 ? "write logs" : "save networks"}: "`);
      await rejects(makeRecipe(line), { name: "UsageError", message }, name);
    }
  });
}

Deno.test("--debug_dataset's run folder takes no such name either, and no setting is a path with the code 0", async () => {
  for (const name of hostile) await rejects(makeRecipe(["--debug_dataset", `--output_name=${name}`]), name);
  await rejects(makeRecipe(["--output_dir=a\u0000b"]), { message: /^--output_dir is "a\\u0000b", must be a path$/ });
  await rejects(makeRecipe(["--logging_dir=a\u0000b"]), { message: /logs\.folder is "a\\u0000b", must be a path$/ });
});

Deno.test("train refuses a hostile name with 2 and writes nothing beside its folder", () =>
  inNewFolder(async (folder) => {
    await writeFile(join(folder, "settings.toml"), 'output_name = "../../a\\u0000"\n');
    const before = await readdir(folder);
    const line = ["--pretrained_model_name_or_path=toy", "--train_data_dir=a", "--output_dir=out"];
    for (const name of [["--output_name=../a"], ["--config_file=settings.toml"]]) {
      const { code, stderr } = await runCommand(["train", ...line, ...name], folder);
      equal(code, 2, stderr);
      match(stderr, /"\.\.\/.*a.*" is no file name/);
    }
    deepEqual(await readdir(folder), before);
  }));

Deno.test("The tools for LoRA files refuse such a name before they read anything", () =>
  inNewFolder(async (folder) => {
    for (const name of ["a\u0000b", "NUL", "a".repeat(300)]) {
      const path = join(folder, `${name}.safetensors`), refused = { name: "RangeError", message: /the name (has|is) / };
      await rejects(mergeLoras([{ file: "none", ratio: 1 }], path), refused);
      await rejects(resizeLora("none", path, { rank: 1 }), refused);
      await rejects(convertLora("none", path), refused);
    }
    deepEqual(await readdir(folder), []);
  }));

Deno.test({
  name: "What is written over a link takes the link's place, and what it led to stays as it was",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inNewFolder(async (folder) => {
      const [outside, out] = ["outside", "out"].map((name) => join(folder, name));
      await mkdir(join(outside, "state"), { recursive: true });
      await mkdir(out);
      await writeFile(join(outside, "file"), "mine");
      await writeFile(join(outside, "state", "file"), "mine");
      await makeLink(join(outside, "file"), join(out, "last.safetensors"));
      await makeLink(join(outside, "state"), join(out, "last-state"));
      await writeFileAtomically(join(out, "last.safetensors"), [new TextEncoder().encode("new")]);
      await writeFolderAtomically(join(out, "last-state"), (hidden) => writeFile(join(hidden, "file"), "new"));
      for (const path of ["file", "state/file"]) equal(await readFile(join(outside, path), "utf8"), "mine");
      for (const [path, text] of [["last.safetensors", "new"], ["last-state/file", "new"]]) {
        equal((await lstat(join(out, path))).isSymbolicLink(), false);
        equal(await readFile(join(out, path), "utf8"), text);
      }
    }),
});
