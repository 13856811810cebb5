import type { NetworkStartOptions } from "../../steps/values/network.ts";
import type { FlagName, FlagValues } from "../flags/table.ts";
import { pythonFloat, pythonInt } from "../settings/python_numbers.ts";
import { UsageError } from "../usage_error.ts";
import { type ArgumentKinds, readArguments } from "./arguments.ts";
import { changed } from "./changed.ts";
import { flagOf, settingsOf } from "./network_settings.ts";

/** sd-scripts' rank where `--network_dim` is unset. */
const rankOfUnset = 4;

const number = { wanted: "a number", read: pythonFloat };
const wholeNumber = { wanted: "a whole number", read: pythonInt };
const list = (kind: typeof number) => ({
  wanted: `${kind.wanted.replace(/^a /, "")}s with commas between`,
  read: (text: string) => {
    const values = text.split(",").map(kind.read);
    return values.includes(undefined) ? undefined : values as number[];
  },
});
/** Numbers of blocks, or the name of a curve over them. */
const weights = {
  wanted: "numbers with commas between, or a curve such as cosine",
  // The step knows which curves there are.
  read: (text: string) => /^[a-z_]+(\+|$)/.test(text) ? text : list(number).read(text),
};

/** What `--network_args` may have. */
const argumentKinds = {
  conv_dim: wholeNumber,
  conv_alpha: number,
  dropout: number,
  rank_dropout: number,
  module_dropout: number,
  down_lr_weight: weights,
  mid_lr_weight: number,
  up_lr_weight: weights,
  block_lr_zero_threshold: number,
  block_dims: list(wholeNumber),
  block_alphas: list(number),
  conv_block_dims: list(wholeNumber),
  conv_block_alphas: list(number),
} satisfies ArgumentKinds;

/** What `--network_args` calls a network's option, for errors. */
export const argumentOfOption: Readonly<Record<string, string>> = {
  convRank: "conv_dim",
  convAlpha: "conv_alpha",
  rankDropout: "rank_dropout",
  moduleDropout: "module_dropout",
  blocks: "weights or ranks of blocks",
};

/** How one network is built, and what it starts from. */
export function networkOptions(values: FlagValues, network: 1 | 2): NetworkStartOptions {
  checkModule(values.network_module);
  const { network_dim, network_alpha, network_args, network_dropout } = settingsOf(values, network);
  const flag = flagOf(values, network, "network_args");
  const found = readArguments(flag, network_args, argumentKinds);
  if (found.conv_alpha !== undefined && found.conv_dim === undefined && found.conv_block_dims === undefined) {
    throw new UsageError(`--${flag} has conv_alpha, which needs conv_dim as well`);
  }
  const dropoutFlag = flagOf(values, network, "network_dropout");
  if (found.dropout !== undefined && network_dropout !== null && isSecond(flag) === isSecond(dropoutFlag)) {
    throw new UsageError(`--${flag} has dropout, which --${dropoutFlag} gives as well: give one of them`);
  }
  const isNearer = network_dropout !== null && isSecond(dropoutFlag);
  const dropout = isNearer ? network_dropout : found.dropout ?? network_dropout;
  const { network_train_unet_only: unetOnly, network_train_text_encoder_only: textOnly } = values;
  if (unetOnly && textOnly) {
    throw new UsageError(
      "--network_train_unet_only and --network_train_text_encoder_only together leave nothing to train",
    );
  }
  const blocks = given({
    downWeights: found.down_lr_weight,
    midWeight: found.mid_lr_weight,
    upWeights: found.up_lr_weight,
    zeroThreshold: found.block_lr_zero_threshold,
    ranks: found.block_dims,
    alphas: found.block_alphas,
    convRanks: found.conv_block_dims,
    convAlphas: found.conv_block_alphas,
  });
  const file = network === 1 ? values.network_weights : values.network_weights_2, rank = network_dim ?? rankOfUnset;
  return {
    rank,
    alpha: alphaOf(network_alpha, rank),
    ...given({
      convRank: found.conv_dim,
      convAlpha: found.conv_alpha === undefined ? undefined : alphaOf(found.conv_alpha, found.conv_dim),
      rankDropout: found.rank_dropout,
      moduleDropout: found.module_dropout,
    }),
    ...changed({ dropout: [dropout, null] }),
    ...(Object.keys(blocks).length === 0 ? {} : { blocks }),
    ...(unetOnly ? { parts: ["unet"] } : textOnly ? { parts: ["text_encoder"] } : {}),
    ...(file ? { weights: file, ...changed({ ranksFromWeights: [values.dim_from_weights, false] }) } : {}),
  };
}

/** An alpha of 0 is the rank, as in sd-scripts: the network's effect is then scaled by 1. */
function alphaOf<Rank extends number | undefined>(alpha: number, rank: Rank): number | Rank {
  return alpha === 0 ? rank : alpha;
}

/** Whether a flag is network 2's own. */
function isSecond(flag: FlagName): boolean {
  return flag.endsWith("_2");
}

/** The options that are there. */
function given<Values extends object>(options: Values): { [Name in keyof Values]?: Exclude<Values[Name], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never;
}

function checkModule(name: string | null): void {
  if (name === null || ["networks.lora", "network.lora"].includes(name)) return;
  throw new UsageError(`--network_module=${name} is refused: networks.lora is the only kind of network there is`);
}
