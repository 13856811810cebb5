import type { LoadBasesOptions } from "../../steps/load_bases.ts";
import type { FlagValues } from "../flags/table.ts";
import { UsageError } from "../usage_error.ts";

/** Options of `loadBases`. */
export function baseOptions(values: FlagValues, isPair: boolean): LoadBasesOptions {
  const { pretrained_model_name_or_path: network1, clip_skip: clipSkip, mixed_precision } = values;
  if (!network1) {
    throw new UsageError(
      "--pretrained_model_name_or_path is missing: a folder or file of Stable Diffusion 1.x, or toy for the small model that comes with the project",
    );
  }
  if (mixed_precision === "bf16") {
    throw new UsageError("--mixed_precision=bf16 is refused: WebGPU has no bf16; use fp16, or no");
  }
  const network2 = isPair ? values.pretrained_model_name_or_path_2 : null;
  return {
    network1,
    ...(network2 === null || network2 === network1 ? {} : { network2 }),
    ...(values.vae ? { vae: values.vae } : {}),
    ...(values.base_config ? { config: values.base_config } : {}),
    ...(mixed_precision === "fp16" ? { precision: "f16" } : {}),
    ...(clipSkip === null ? {} : { clipSkip }),
  };
}
