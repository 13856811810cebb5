import { captionFlags } from "./captions.ts";
import { commandFlags } from "./command.ts";
import type { Flag, FlagGroup, FlagValue } from "./flag.ts";
import { hubFlags, logFlags } from "./logs.ts";
import { memoryFlags } from "./memory.ts";
import { modelFlags } from "./models.ts";
import { networkFlags } from "./network.ts";
import { latentFlags, pictureFlags, sizeFlags } from "./pictures.ts";
import { sampleFlags, savingFlags, stateFlags } from "./saving.ts";
import { lengthFlags, lossFlags, optimizerFlags, validationFlags } from "./training.ts";
import { twoNetworkFlags } from "./two_networks.ts";

const written = [
  modelFlags,
  pictureFlags,
  sizeFlags,
  captionFlags,
  latentFlags,
  twoNetworkFlags,
  networkFlags,
  lengthFlags,
  optimizerFlags,
  lossFlags,
  validationFlags,
  memoryFlags,
  savingFlags,
  stateFlags,
  sampleFlags,
  logFlags,
  hubFlags,
  commandFlags,
] as const;

type WrittenFlag = typeof written[number]["flags"][number];

/** Flags of which `<name>_2` is one as well. */
export type SecondFlag = Extract<WrittenFlag, { readonly second: true }>;

/** All flags' values by name; a `_2` that is unset is null. */
export type FlagValues =
  & { readonly [F in WrittenFlag as F["name"]]: FlagValue<F> }
  & { readonly [F in SecondFlag as `${F["name"]}_2`]: FlagValue<F> | null };

/** Name of any flag. */
export type FlagName = keyof FlagValues;

/** Flags with `_2` that the original has as well. */
const secondOfOriginal = ["pretrained_model_name_or_path", "network_dim", "network_alpha"];

/** All flags in groups, in the order of the help; each `<name>_2` behind its `<name>`. */
export const flagGroups: readonly FlagGroup[] = written.map(({ title, flags }: FlagGroup) => ({
  title,
  flags: flags.flatMap((flag) => flag.second ? [flag, secondFlag(flag)] : [flag]),
}));

/** All flags by name. */
export const flagsByName: ReadonlyMap<string, Flag> = new Map(
  flagGroups.flatMap(({ flags }) => flags.map((flag) => [flag.name, flag] as const)),
);

function secondFlag({ alone: _, alias: __, second: ___, ...flag }: Flag): Flag {
  return {
    ...flag,
    name: `${flag.name}_2`,
    // A switch has no word for off, which network 2 needs where network 1's is on.
    type: flag.type === "switch" ? "boolean" : flag.type,
    default: null,
    from: secondOfOriginal.includes(flag.name) ? "original" : "own",
    does: `the same for network 2; network 1's when unset`,
  };
}
