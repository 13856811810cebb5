import { input, plan, type Tensor } from "../../engine/mod.ts";
import type { LoraOptions } from "../../lora/network.ts";
import { hooks } from "../../lora/orthogonality.ts";
import type { BaseModel } from "../../models/base_model.ts";
import { loraOptions, openBase, openNetwork, option, type ProbeRequest } from "./context.ts";
import { tensorOf, type TensorSet, toNchw, toNhwc } from "./tensors.ts";

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
    const lora = loraOptions(request), multiplier = option(request, "multiplier", 1);
    const convolutions = lora.convRank === undefined ? "" : `_conv_dim_${lora.convRank}`;
    return [{ name: `${name}${multiplier === 1 ? "" : `_multiplier_${multiplier}`}${convolutions}`, lora, multiplier }];
  }
  return [
    { name, lora: { rank, alpha }, multiplier: 1 },
    { name: `${name}_multiplier_0.5`, lora: { rank, alpha }, multiplier: 0.5 },
    {
      name: `${name}_conv_dim_4`,
      lora: { rank, alpha, convRank: 4, convAlpha: option(request, "conv_alpha", 1) },
      multiplier: 1,
    },
  ];
}

/** Text encoder and UNet without and with a network: `base.*`, and `<variant>.text`, `.text_clip_skip_2`, `.unet`, `.hook_text`, `.hook_unet`. */
export async function probeLoraForward(request: ProbeRequest): Promise<TensorSet> {
  const base = await openBase(request), output: TensorSet = new Map();
  await run(request, base, null, output);
  for (const variant of variantsOf(request)) await run(request, base, variant, output);
  return output;
}

async function run(request: ProbeRequest, base: BaseModel, variant: Variant | null, output: TensorSet): Promise<void> {
  const ids = tensorOf(request.input, "input_ids"), sample = toNhwc(tensorOf(request.input, "sample"));
  const hidden = new Map<string, Tensor | null>([[hooks.textEncoder, null], [hooks.unet, null]]);
  const network = variant && openNetwork(request, base, 1, variant.lora);
  const adapters = (part: "text_encoder" | "unet") =>
    network?.adapters(part, { multiplier: variant!.multiplier, hidden }) ?? (() => null);
  const tokens = input("ids", ids.shape, "i32");
  // The hidden map keeps the last trace, so the skipped encoder is traced first.
  const skipped = base.encode(tokens, { adapters: adapters("text_encoder"), clipSkip: 2 });
  const text = base.encode(tokens, { adapters: adapters("text_encoder"), clipSkip: 1 });
  const unet = base.denoise(input("sample", sample.shape), input("timesteps", [sample.shape[0]]), text, {
    adapters: adapters("unet"),
  });
  const outputs: Record<string, Tensor> = { text, text_clip_skip_2: skipped, unet };
  const hookText = hidden.get(hooks.textEncoder), hookUnet = hidden.get(hooks.unet);
  if (hookText) outputs.hook_text = hookText;
  if (hookUnet) outputs.hook_unet = hookUnet;
  const program = await request.device.compile(plan({ outputs }));
  program.run({ ids: ids.data, sample: sample.data, timesteps: tensorOf(request.input, "timesteps").data });
  const found = await program.read(...Object.keys(outputs));
  for (const [name, { shape }] of Object.entries(outputs)) {
    const tensor = { shape, data: found[name] as Float32Array };
    output.set(`${variant?.name ?? "base"}.${name}`, shape.length === 4 ? toNchw(tensor) : tensor);
  }
  request.device.release(program);
  if (network) request.device.free([network.weights]);
}
