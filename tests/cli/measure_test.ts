import { deepEqual, equal, rejects, throws } from "node:assert/strict";
import { join } from "node:path";
import { runCommandLine } from "../../cli/main.ts";
import { recipeOptions } from "../../cli/tools/measure_command.ts";
import { measureRecipe } from "../../cli/tools/measure_recipe.ts";
import { toy } from "../../steps/values/toy.ts";
import { inNewFolder } from "../steps/small_training.ts";
import { writeRuleLora } from "../steps/rule_lora.ts";

const files = ["a", "b"] as const, defaults = { mixed_precision: "no", output_dir: "out/measure" } as const;
const asked = { prompt: "sks", prompt_2: "zkz" };

Deno.test("the base toy alone is measured on the demo's pictures and prompts, with retention", () => {
  const { data, prompts, regions, resolution, rows, sampler } = recipeOptions(files, "toy", defaults);
  deepEqual([data, regions, resolution], [[toy.character, toy.outfit], toy.regions, 128]);
  equal(prompts?.stack, "pixel art portrait of sks person, zkz clothes, {row} background");
  deepEqual(rows.map(({ text, seed }) => `${text} ${seed}`), ["white 1", "pink 2", "sky blue 3", "beige 4"]);
  deepEqual(sampler, { steps: 20, guidance: 3 });
});

Deno.test("another base is measured on what is named: prompts, pictures, or both", () => {
  const own = recipeOptions(files, "sd15", { ...defaults, ...asked, pictures: "2" });
  deepEqual([own.data, own.regions, own.resolution, own.most], [undefined, undefined, 512, 2]);
  deepEqual(own.prompts, { one: "sks", two: "zkz", stack: "sks, zkz" });
  const pictures = recipeOptions(files, "sd15", { ...defaults, data: "c", data_2: "d" });
  deepEqual([pictures.data, pictures.prompts], [["c", "d"], undefined]);
  equal(recipeOptions(files, "toy", { ...defaults, ...asked }).data, undefined);
});

Deno.test("flags that do not fit each other are told with what to do", async () => {
  const refuses = (flags: object, message: RegExp, base = "sd15") =>
    throws(() => recipeOptions(files, base, { ...defaults, ...flags }), message);
  refuses({}, /^UsageError: --base needs something to measure on: .* --data and --data_2, or --prompt and --prompt_2$/);
  refuses({ data: "c" }, /^UsageError: --data is given, so --data_2 must be as well$/);
  refuses({ prompt_2: "c" }, /^UsageError: --prompt_2 is given, so --prompt must be as well$/);
  refuses({ data: "c", data_2: "d", prompt_stack: "x" }, /--prompt_stack is given, so --prompt and --prompt_2 must be/);
  refuses({ data: "c", data_2: "d", regions: "x" }, /--regions is read off pictures: give --prompt/);
  refuses({ ...asked, json: "x" }, /--json is for weights alone: with --base everything is written into --output_dir$/);
  refuses({ ...asked, pictures: "0" }, /^UsageError: --pictures is "0", must be a whole number above 0$/);
  await rejects(
    runCommandLine(["measure", "a", "b", "--prompt", "x"]),
    /^UsageError: --prompt needs --base: by weights alone it decides nothing$/,
  );
});

Deno.test("each way of measuring is a recipe that fits: pictures of the LoRAs' own, or what they make of the prompts", () =>
  inNewFolder(async (folder) => {
    const loras = [join(folder, "a.safetensors"), join(folder, "b.safetensors")] as const;
    for (const [k, path] of loras.entries()) await writeRuleLora(path, { salt: k });
    const stepsOf = async (flags: object) => {
      const recipe = measureRecipe(recipeOptions(loras, "toy", { ...defaults, resolution: "64", ...flags }));
      return (await recipe.describe()).steps.slice(3).map(({ name }) => name);
    };
    const data = ["read data", "encode latents", "probes from data", "measure interference"];
    const end = "write interference report";
    deepEqual(await stepsOf({}), [...data, "sample", "measure retention", end]);
    deepEqual(await stepsOf({ data: toy.character, data_2: toy.outfit }), [...data, end]);
    deepEqual(await stepsOf(asked), ["sample", "probes from samples", "measure interference", end]);
  }));
