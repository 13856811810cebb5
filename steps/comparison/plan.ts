import type { Description, StepDescription } from "../../pipeline/mod.ts";
import { baseFolder, cellFolder, network1Folder, runFolder } from "./folders.ts";
import { baseRecipe, changesNetwork1, plannedCell, pretrainRecipe } from "./recipes.ts";
import type { ComparisonOptions, Variant } from "./variant.ts";

/** What decides a variant's plan: which terms there are, not how large they are. */
function planKind({ name: _, freezing, ...terms }: Variant): string {
  const present = (_: string, value: unknown) => typeof value === "number" && value !== 0 ? 1 : value;
  return JSON.stringify([JSON.stringify(freezing ?? null), terms], present);
}

/**
 * Plans everything of a seed that a comparison makes, without a GPU: the base's answers, network 1, and a cell of each variant; of variants that differ in nothing but the
 * size of a number, one.
 *
 * @param variants Those that are planned.
 * @throws What a plan throws, with the name of the variant.
 */
export async function planComparison(
  options: ComparisonOptions,
  variants: readonly Variant[] = options.variants,
): Promise<StepDescription[]> {
  const { seeds: [seed] } = options, base = await baseRecipe(options).describe({ folder: baseFolder(options) });
  const steps: StepDescription[] = [...base.steps];
  const kinds = variants.filter((variant) => !changesNetwork1(variant)).map(({ orthonormal = false }) => orthonormal);
  for (const isOrthonormal of new Set(kinds)) {
    const own = network1Folder(options, seed, isOrthonormal);
    const recipe = pretrainRecipe(options, seed, isOrthonormal, own);
    const described = await recipe.describe({ folder: runFolder(own) });
    // The base is above, from the second network 1 on data and latents as well.
    for (const step of described.steps.slice(steps.length === base.steps.length ? 1 : 3)) {
      steps.push({ ...step, name: `network 1${isOrthonormal ? ", orthonormal" : ""}: ${step.name}` });
    }
  }
  const planned = new Map<string, { readonly name: string; readonly step: StepDescription }>();
  const told = new Set<string>();
  for (const variant of variants) {
    const { name, ...own } = variant, kind = planKind(variant), folder = cellFolder(options, variant, seed);
    const place = `in ${folder}`, like = planned.get(kind);
    try {
      const cell = plannedCell(options, variant, seed, folder);
      if (like === undefined) {
        const step = trainingOf(await cell.describe({ folder: runFolder(folder) }));
        // What is as with the first is left out.
        const lines = step.lines.filter((line) => !told.has(line));
        if (planned.size === 0) step.lines.forEach((line) => told.add(line));
        planned.set(kind, { name, step: { ...step, lines } });
        steps.push({ ...step, name, options: own, lines: [...lines, place] });
      } else {
        steps.push({ ...like.step, name, options: own, lines: [`planned as ${JSON.stringify(like.name)}`, place] });
      }
    } catch (error) {
      // A fault of the program stays one.
      if (error instanceof Error && error.message.startsWith("Cannot ")) {
        error.message = `Cannot compare with ${JSON.stringify(name)}: ${error.message}`;
      }
      throw error;
    }
  }
  return steps;
}

/** The step of a cell that makes its network 2 what it is. */
function trainingOf({ steps }: Description): StepDescription {
  return steps.findLast(({ gives, replaces }) => [...gives, ...replaces].includes("network2"))!;
}
