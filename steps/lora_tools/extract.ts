import type { LoraFileModule, SavePrecision } from "../../formats/lora_file.ts";
import { extractModule } from "../../lora/extract.ts";
import { type Part, planModules } from "../../lora/module_plan.ts";
import { BaseModel } from "../../models/base_model.ts";
import { openCheckpoint } from "../../models/checkpoint/checkpoint.ts";
import { OpenedPart, readElements } from "../../models/checkpoint/opened_part.ts";
import { baseFolder } from "../values/bases.ts";
import { checkOutput } from "./output.ts";
import { writeLoraFile } from "./write_lora_file.ts";

/** How a LoRA is extracted. */
export interface ExtractLoraOptions {
  readonly rank: number;
  /** Rank of 3×3 convolutions; without it they get no modules. */
  readonly convRank?: number;
  /** See `ExtractOptions`; 0.99 when left out. */
  readonly clampQuantile?: number;
  /** The text encoder counts as the same where no weight differs by more; 0.01 when left out. */
  readonly minDiff?: number;
  /** Numbers in the file; `float` when left out. */
  readonly precision?: SavePrecision;
  /** A Diffusers folder whose configurations single files are read with; SD v1.5's when left out. */
  readonly config?: string;
}

/** What was extracted. */
export interface Extraction {
  readonly modules: number;
  /** Layers whose weights are equal: they get no module. */
  readonly equal: number;
  /** Whether the text encoders differ enough to be in it. */
  readonly hasTextEncoder: boolean;
}

/**
 * Writes the difference of two base models as a LoRA file of a rank.
 *
 * @param original A Diffusers folder, a file in the original layout, or `toy`.
 * @param tuned What the LoRA makes of it, another one of the same sizes.
 * @param onModule Hears of each layer that is done.
 * @throws {RangeError} If an option is out of range, the models differ in their layers, or do not differ at all.
 */
export async function extractLora(
  original: string,
  tuned: string,
  output: string,
  options: ExtractLoraOptions,
  onModule: (name: string, done: number, total: number) => void = () => {},
): Promise<Extraction> {
  const { rank, convRank, clampQuantile = 0.99, minDiff = 0.01, precision = "float", config } = options;
  if (!(clampQuantile > 0.5 && clampQuantile <= 1)) {
    throw new RangeError(
      `Cannot extract ${tuned}: clampQuantile is ${clampQuantile}, must be above 0.5 and no more than 1`,
    );
  }
  if (!(minDiff >= 0)) throw new RangeError(`Cannot extract ${tuned}: minDiff is ${minDiff}, must be 0 or above`);
  const paths = [original, tuned].map(baseFolder), given = config === undefined ? {} : { config: baseFolder(config) };
  await checkOutput(output, paths);
  const [one, two] = await Promise.all(paths.map(async (path) => BaseModel.open(await openCheckpoint(path, given))));
  const layersOf = ({ textLayers, unetLayers }: BaseModel) => ({ text_encoder: textLayers, unet: unetLayers });
  if (JSON.stringify(layersOf(one)) !== JSON.stringify(layersOf(two))) {
    throw new RangeError(
      `Cannot extract ${tuned}: its layers are not those of ${original}; both must be of one kind and size`,
    );
  }
  const planned = planModules("the extracted network", layersOf(one), {
    rank,
    ...(convRank === undefined ? {} : { convRank }),
  });
  await using differences = await Differences.open(one, two);
  const text = planned.filter(({ part }) => part === "text_encoder");
  let hasTextEncoder = false;
  for (const { layer } of text) {
    const { values } = await differences.of("text_encoder", layer.path);
    hasTextEncoder ||= values.some((value) => Math.abs(value) > minDiff);
    if (hasTextEncoder) break;
  }
  const wanted = hasTextEncoder ? planned : planned.filter(({ part }) => part === "unet");
  const modules: LoraFileModule[] = [];
  for (const [index, { name, part, layer, rank }] of wanted.entries()) {
    const { shape, values } = await differences.of(part, layer.path);
    if (!values.every(Number.isFinite)) {
      throw new RangeError(
        `Cannot extract ${tuned}: ${part}.${layer.path}.weight differs from ${original}'s by NaN or infinity`,
      );
    }
    if (values.some((value) => value !== 0)) modules.push(extractModule(name, shape, values, { rank, clampQuantile }));
    onModule(name, index + 1, wanted.length);
  }
  if (modules.length === 0) {
    throw new RangeError(
      `Cannot extract ${tuned}: its weights are those of ${original}, so there is nothing to extract`,
    );
  }
  const base = new Map([["ss_v2", "False"], ["ss_base_model_version", "sd_v1"]]);
  await writeLoraFile(output, modules, { precision, from: [base] });
  return { modules: modules.length, equal: wanted.length - modules.length, hasTextEncoder };
}

/** Weights of the second of two models less those of the first, one layer at a time. */
class Differences implements AsyncDisposable {
  private constructor(
    private readonly models: readonly BaseModel[],
    private readonly opened: Readonly<Record<Part, readonly OpenedPart[]>>,
  ) {}

  static async open(...models: BaseModel[]): Promise<Differences> {
    const parts = models.map(({ checkpoint }) => checkpoint);
    const text = await Promise.all(parts.map(({ textEncoder }) => OpenedPart.open(textEncoder)));
    const unet = await Promise.all(parts.map(({ unet }) => OpenedPart.open(unet)));
    return new Differences(models, { text_encoder: text, unet });
  }

  async of(part: Part, path: string): Promise<{ shape: readonly number[]; values: Float32Array }> {
    const [before, after] = await Promise.all(this.models.map(async (model, i) => {
      const weights = part === "unet" ? model.unetWeights : model.textWeights;
      const spec = weights.all.find(({ key }) => key === `${path}.weight`)!;
      return { spec, values: await readElements(this.stored(part, i, model).get(spec)!) };
    }));
    const values = Float32Array.from(after.values, (value, i) => value - before.values[i]);
    return { shape: before.spec.shape, values };
  }

  private readonly found = new Map<OpenedPart, ReturnType<OpenedPart["find"]>>();

  private stored(part: Part, index: number, { unetWeights, textWeights }: BaseModel) {
    const opened = this.opened[part][index];
    const found = this.found.get(opened) ?? opened.find(part === "unet" ? unetWeights : textWeights);
    this.found.set(opened, found);
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const part of [...this.opened.text_encoder, ...this.opened.unet]) await part[Symbol.asyncDispose]();
  }
}
