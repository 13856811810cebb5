import type { NetworkOptions } from "../../steps/values/network.ts";
import type { FlagValues } from "../flags/table.ts";
import { pythonFloat, pythonInt } from "../settings/python_numbers.ts";
import { UsageError } from "../usage_error.ts";
import { namedArguments, wrongArgument } from "./arguments.ts";
import { settingsOf } from "./network_settings.ts";

/** sd-scripts' rank where `--network_dim` is unset. */
const rankOfUnset = 4;

/** How one network is built. */
export function networkOptions(values: FlagValues, network: 1 | 2): NetworkOptions {
  checkModule(values.network_module);
  const { network_dim, network_alpha, network_args } = settingsOf(values, network);
  const { conv_dim, conv_alpha } = namedArguments("network_args", network_args, ["conv_dim", "conv_alpha"]);
  const convRank = conv_dim === undefined ? undefined : pythonInt(conv_dim);
  const convAlpha = conv_alpha === undefined ? undefined : pythonFloat(conv_alpha);
  if (conv_dim !== undefined && convRank === undefined) {
    throw wrongArgument("network_args", "conv_dim", conv_dim, "a whole number");
  }
  if (conv_alpha !== undefined && convAlpha === undefined) {
    throw wrongArgument("network_args", "conv_alpha", conv_alpha, "a number");
  }
  if (conv_alpha !== undefined && conv_dim === undefined) {
    throw new UsageError("--network_args has conv_alpha, which needs conv_dim as well");
  }
  const { network_train_unet_only: unetOnly, network_train_text_encoder_only: textOnly } = values;
  if (unetOnly && textOnly) {
    throw new UsageError(
      "--network_train_unet_only and --network_train_text_encoder_only together leave nothing to train",
    );
  }
  return {
    rank: network_dim ?? rankOfUnset,
    alpha: network_alpha,
    ...(convRank === undefined ? {} : { convRank }),
    ...(convAlpha === undefined ? {} : { convAlpha }),
    ...(unetOnly ? { parts: ["unet"] } : textOnly ? { parts: ["text_encoder"] } : {}),
  };
}

function checkModule(name: string | null): void {
  if (name === null || ["networks.lora", "network.lora"].includes(name)) return;
  throw new UsageError(`--network_module=${name} is refused: networks.lora is the only kind of network there is`);
}
