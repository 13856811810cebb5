import type { Dataset } from "../../data/dataset.ts";
import { type Device, input, plan } from "../../engine/mod.ts";
import type { LoraNetwork } from "../../lora/network.ts";
import type { BaseModel } from "../../models/base_model.ts";
import type { Tokenizer } from "../../models/clip/tokenizer.ts";
import type { StepRun } from "../../pipeline/mod.ts";
import { promptOf, type PromptOptions } from "./prompts.ts";

/** Captions that the text encoder reads at once; always so many, so that a caption's states do not depend on the others. */
const batch = 4;
/** States that would take more of the host's memory are computed in each step instead: in SD v1.5 those of 4,500 captions of 75 tokens. */
const maxBytes = 2 ** 30;

/** What is needed to know whether a network's captions can be encoded beforehand. */
export interface TextSide {
  readonly base: BaseModel;
  readonly lora: LoraNetwork;
  readonly dataset: Dataset;
}

/**
 * The captions of a data set, if the text encoder makes the same of each in every step: the network has no modules in it, captions do not change but for being
 * left out, and their states fit in memory. Otherwise null.
 */
export function fixedCaptions(
  { base, lora, dataset }: TextSide,
  { maxTokenLength = 75 }: PromptOptions,
): string[] | null {
  if (lora.modules.some(({ part }) => part === "text_encoder")) return null;
  const captions = new Set<string>();
  for (const { caption, subset: { settings } } of dataset.images) {
    const { shuffleCaption, captionTagDropoutRate, tokenWarmupStep } = settings;
    if (shuffleCaption || captionTagDropoutRate > 0 || tokenWarmupStep > 0) return null;
    captions.add(caption);
    if (settings.captionDropoutRate > 0 || settings.captionDropoutEveryNEpochs > 0) captions.add("");
  }
  const bytes = captions.size * (maxTokenLength + 2) * base.textConfig.size * Float32Array.BYTES_PER_ELEMENT;
  return bytes > maxBytes ? null : [...captions];
}

/** What a base's text encoder makes of captions, encoded beforehand: steps get it in the place of token ids. */
export class TextOutputs {
  private constructor(private readonly states: ReadonlyMap<string, Float32Array>) {}

  /** Encodes captions, each once; nothing of it stays on the device but the base's weights. */
  static async encode(
    device: Device,
    { base, tokenizer }: { readonly base: BaseModel; readonly tokenizer: Tokenizer },
    captions: readonly string[],
    prompts: PromptOptions,
    run: Pick<StepRun, "signal">,
  ): Promise<TextOutputs> {
    const rows = (prompts.maxTokenLength ?? 75) / 75, states = new Map<string, Float32Array>();
    const context = base.encode(input("ids", [batch * rows, 77], "i32"), { rows });
    const program = await device.compile(plan({ outputs: { context } }));
    try {
      for (let at = 0; at < captions.length; at += batch) {
        run.signal.throwIfAborted();
        const some = captions.slice(at, at + batch);
        const ids = Array.from({ length: batch }, (_, i) => promptOf(tokenizer, some[i] ?? "", prompts).ids);
        program.run({ ids: ids.flatMap((row) => Array.from(row)) });
        const { context } = await program.read("context"), each = context.length / batch;
        for (const [i, caption] of some.entries()) {
          states.set(caption, Float32Array.from(context.subarray(i * each, (i + 1) * each)));
        }
      }
    } finally {
      device.release(program);
    }
    return new TextOutputs(states);
  }

  /**
   * The states of a caption, `[75 · rows + 2, size]`, its tokens' weights not applied.
   *
   * @throws {Error} If it was not encoded.
   */
  get(caption: string): Float32Array {
    const found = this.states.get(caption);
    if (found) return found;
    throw new Error(`Cannot train: the caption ${JSON.stringify(caption)} was not encoded beforehand`);
  }
}
