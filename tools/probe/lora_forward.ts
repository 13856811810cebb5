import { input, storingActivations, type Tensor } from "../../engine/mod.ts";
import type { LoraOptions } from "../../lora/network.ts";
import { hooks } from "../../lora/orthogonality.ts";
import type { BaseModel } from "../../models/base_model.ts";
import {
  activationsOption,
  evaluate,
  loraOptions,
  networkOptions,
  openBase,
  openNetwork,
  type ProbeRequest,
} from "./context.ts";
import { option } from "./options.ts";
import { setsOf, tensorOf, type TensorSet, toNchw, toNhwc } from "./tensors.ts";

/** Options of `lora-forward`. */
export const loraForwardOptions = [...networkOptions, "multiplier", "clip_skip", "activations"];

interface Variant {
  readonly name: string;
  readonly lora: LoraOptions;
  readonly multiplier: number;
}

/** The variants that the goldens have, or the one that the options describe. */
function variantsOf(request: ProbeRequest): Variant[] {
  const { rank, alpha } = loraOptions(request), name = `rank_${rank}`;
  const told = ["conv_dim", "multiplier"].some((key) => request.options[key] !== undefined);
  if (told) {
    const lora = loraOptions(request), multiplier = option(request.options, "multiplier", 1);
    const convolutions = lora.convRank === undefined ? "" : `_conv_dim_${lora.convRank}`;
    return [{ name: `${name}${multiplier === 1 ? "" : `_multiplier_${multiplier}`}${convolutions}`, lora, multiplier }];
  }
  const convAlpha = option(request.options, "conv_alpha", 1);
  return [
    { name, lora: { rank, alpha }, multiplier: 1 },
    { name: `${name}_multiplier_0.5`, lora: { rank, alpha }, multiplier: 0.5 },
    { name: `${name}_conv_dim_4`, lora: { rank, alpha, convRank: 4, convAlpha }, multiplier: 1 },
  ];
}

/** Text encoder and UNet without and with a network: `base.*`, and `<variant>.text`, `.text_clip_skip_2`, `.unet`, `.hook_text`, `.hook_unet`. */
export async function probeLoraForward(request: ProbeRequest): Promise<TensorSet> {
  const base = await openBase(request), output: TensorSet = new Map();
  try {
    for (const prefix of setsOf(request.input, "input_ids")) {
      for (const variant of [null, ...variantsOf(request)]) await run(request, base, prefix, variant, output);
    }
  } finally {
    base.free(request.device);
  }
  return output;
}

async function run(
  request: ProbeRequest,
  base: BaseModel,
  prefix: string,
  variant: Variant | null,
  output: TensorSet,
): Promise<void> {
  const ids = tensorOf(request.input, `${prefix}input_ids`),
    sample = toNhwc(tensorOf(request.input, `${prefix}sample`));
  const timesteps = tensorOf(request.input, `${prefix}timesteps`);
  const hidden = new Map<string, Tensor | null>([[hooks.textEncoder, null], [hooks.unet, null]]);
  const network = variant && openNetwork(request, base, 1, variant.lora);
  const adapters = (part: "text_encoder" | "unet") =>
    network?.adapters(part, { multiplier: variant!.multiplier, hidden }) ?? (() => null);
  const tokens = input("ids", ids.shape, "i32");
  // The hidden map keeps the last trace, so the skipped encoder is traced first.
  const stored = <T>(trace: () => T) => storingActivations(activationsOption(request), trace);
  const skipped = stored(() => base.encode(tokens, { adapters: adapters("text_encoder"), clipSkip: 2 }));
  const text = stored(() => base.encode(tokens, { adapters: adapters("text_encoder") }));
  const unet = stored(() =>
    base.denoise(input("sample", sample.shape), input("timesteps", timesteps.shape), text, {
      adapters: adapters("unet"),
    })
  );
  const outputs: Record<string, Tensor> = { text, text_clip_skip_2: skipped, unet };
  const hookText = hidden.get(hooks.textEncoder), hookUnet = hidden.get(hooks.unet);
  if (hookText) outputs.hook_text = hookText;
  if (hookUnet) outputs.hook_unet = hookUnet;
  try {
    const feeds = { ids: ids.data, sample: sample.data, timesteps: timesteps.data };
    const found = await evaluate(request.device, outputs, feeds);
    for (const [name, { shape }] of Object.entries(outputs)) {
      const tensor = { shape, data: found[name] as Float32Array };
      output.set(`${prefix}${variant?.name ?? "base"}.${name}`, shape.length === 4 ? toNchw(tensor) : tensor);
    }
  } finally {
    if (network) request.device.free([network.weights]);
  }
}
