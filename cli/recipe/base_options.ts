import type { LoadBasesOptions } from "../../steps/load_bases.ts";
import type { FlagValues } from "../flags/table.ts";
import { pythonFloat } from "../settings/python_numbers.ts";
import { UsageError } from "../usage_error.ts";
import { changed } from "./changed.ts";

/** Options of `loadBases`. */
export function baseOptions(values: FlagValues, isPair: boolean): LoadBasesOptions {
  const { pretrained_model_name_or_path: network1, clip_skip: clipSkip } = values;
  const { mixed_precision, frozen_weights, f16_arithmetic } = values;
  if (!network1) {
    throw new UsageError(
      "--pretrained_model_name_or_path is missing: a folder or file of Stable Diffusion 1.x, or toy for the small model that comes with the project",
    );
  }
  const network2 = isPair ? values.pretrained_model_name_or_path_2 : null;
  return {
    network1,
    ...(network2 === null || network2 === network1 ? {} : { network2 }),
    ...(values.vae ? { vae: values.vae } : {}),
    ...(values.base_weights?.length ? { merge: mergedOf(values) } : {}),
    ...(values.base_config ? { config: values.base_config } : {}),
    ...changed({ mixedPrecision: [mixed_precision, "no"] }),
    ...(frozen_weights === null ? {} : { frozenWeights: frozen_weights }),
    ...changed({ f16Arithmetic: [f16_arithmetic, false] }),
    ...(clipSkip === null ? {} : { clipSkip }),
  };
}

/** LoRA files that are merged into the bases, with their strengths. */
function mergedOf({ base_weights, base_weights_multiplier }: FlagValues): NonNullable<LoadBasesOptions["merge"]> {
  const files = base_weights ?? [], words = base_weights_multiplier ?? [];
  if (words.length > files.length) {
    throw new UsageError(
      `--base_weights_multiplier has ${words.length} numbers for ${files.length} files of --base_weights`,
    );
  }
  return files.map((weights, at) => {
    if (words[at] === undefined) return { weights };
    const multiplier = pythonFloat(words[at]);
    if (multiplier === undefined) {
      throw new UsageError(`--base_weights_multiplier has ${JSON.stringify(words[at])}, must be numbers`);
    }
    return { weights, multiplier };
  });
}
