import { readLora, type SavePrecision } from "../../formats/lora_file.ts";
import { rankRules, type ResizedModule, resizeModule, type ResizeOptions } from "../../lora/resize.ts";
import { checkOutput } from "./output.ts";
import { writeLoraFile } from "./write_lora_file.ts";

export { rankRules };

/** How a LoRA file is resized. */
export interface ResizeLoraOptions extends ResizeOptions {
  /** Rank of convolutions, 1×1 and 3×3; `rank` when left out. */
  readonly convRank?: number;
  /** Numbers in the file; `float` when left out. */
  readonly precision?: SavePrecision;
}

/**
 * Writes a LoRA file with smaller ranks.
 *
 * @param onModule Hears of each module that is done.
 * @returns The modules with what is left of them.
 * @throws {RangeError} If a rank or target is out of range, or the output is the input.
 */
export async function resizeLora(
  input: string,
  output: string,
  options: ResizeLoraOptions,
  onModule: (resized: ResizedModule, done: number, total: number) => void = () => {},
): Promise<ResizedModule[]> {
  const { rank, convRank = rank, rule, precision = "float" } = options;
  for (const [name, value] of Object.entries({ rank, convRank })) {
    if (!Number.isInteger(value) || value < 1) {
      throw new RangeError(`Cannot resize ${input}: ${name} is ${value}, must be a whole number above 0`);
    }
  }
  const isRatio = rule?.by === "sv_ratio";
  if (rule && !(isRatio ? rule.target > 1 && rule.target < Infinity : rule.target > 0 && rule.target <= 1)) {
    const wanted = isRatio ? "a number above 1" : "above 0 and no more than 1";
    throw new RangeError(`Cannot resize ${input}: the target of ${rule.by} is ${rule.target}, must be ${wanted}`);
  }
  await checkOutput(output, [input]);
  const { modules, metadata } = await readLora(input), resized: ResizedModule[] = [];
  for (const module of modules) {
    const bad = [module.down, module.up].some(({ values }) => !values.every(Number.isFinite));
    if (bad) throw new RangeError(`Cannot resize ${input}: ${module.name} holds NaN or infinite numbers`);
    const own = { rank: module.down.shape.length === 4 ? convRank : rank, ...(rule ? { rule } : {}) };
    resized.push(resizeModule(module, own));
    onModule(resized.at(-1)!, resized.length, modules.length);
  }
  await writeLoraFile(output, resized.map(({ module }) => module), { precision, from: [metadata] });
  return resized;
}
