import { deepEqual, equal, ok } from "node:assert/strict";
import { planRecipe } from "../../cli/recipe/plan_recipe.ts";
import { recipeScript } from "../../cli/recipe/recipe_script.ts";
import { network1, network2 } from "../../steps/things.ts";
import { settingsOfLine } from "./parse_line.ts";
import { pair } from "./planned_options.ts";

Deno.test("a printed recipe names the things it hands on, and every value as it was", async () => {
  const line = [...pair, '--output_dir=a "b" */', "--learning_rate=1e-7", "--orth_te_mask=I"];
  const plan = await planRecipe(await settingsOfLine(line));
  const script = recipeScript(plan, "deno task train */", { door: "./mod.ts" });
  ok(script.startsWith("/**\n * What this command line does:\n * deno task train *\\/\n */\n"));
  ok(script.includes("const { network1, network2 } = d.things;"));
  ok(script.includes("learningRate: 1e-7"));
  ok(script.includes('const folder = d.outputFolder("a \\"b\\" */");'));
  ok(script.includes("d.saveNetworks({\n    folder,"), script);
  ok(script.includes("await d.runRecipe(recipe, { folder: `${folder}/name_run` });"));
  ok(script.includes("networks: { network1, network2 }"));
  ok(script.split("\n").every((line) => line.length <= 100), script);
  equal(plan.calls.at(-1)![0], "saveNetworks");
  deepEqual((plan.calls.at(-1)![1] as { networks: unknown }).networks, { network1, network2 });
});
