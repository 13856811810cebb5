import { commandFlags } from "../flags/command.ts";
import type { Flag } from "../flags/flag.ts";
import { captionFlags } from "../flags/captions.ts";
import { pictureFlags, sizeFlags } from "../flags/pictures.ts";
import { type FlagName, flagsByName, type FlagValues } from "../flags/table.ts";
import { twoNetworkFlags } from "../flags/two_networks.ts";
import { repeatsDefault, type Settings } from "../settings/settings.ts";
import { decidingCalls } from "./deciding_options.ts";
import { planRecipe } from "./plan_recipe.ts";

/**
 * The flags that are given and decide nothing in this run: with another value, the recipe would do the same. Those that
 * repeat their defaults ask for nothing; of flags that mean something of their own, the table says what.
 *
 * @param settings Such as a recipe can be made of.
 */
export async function idleFlags(settings: Settings): Promise<FlagName[]> {
  const { values, given } = settings;
  // All that is about training waits for the run that trains.
  if (values.debug_dataset) return [];
  const recipe = await decidingText(settings), idle: FlagName[] = [];
  for (const name of given) {
    const flag = flagsByName.get(name)!;
    if (flag.status !== "works" || isAboutCommand(name) || repeatsDefault(settings, name)) continue;
    const other = { ...settings, values: { ...values, [name]: otherValue(flag, values[name]) } };
    // A value that is refused was looked at.
    const changed = await decidingText(other).catch(() => undefined);
    if (changed === recipe) idle.push(name);
  }
  return idle;
}

/** What a recipe does, as text. */
async function decidingText(settings: Settings): Promise<string> {
  return JSON.stringify(decidingCalls((await planRecipe(settings)).calls));
}

/** Whether a flag says what to do with the recipe. */
function isAboutCommand(name: FlagName): boolean {
  return commandFlags.flags.some((flag) => flag.name === name);
}

/** A value that a flag does not stand at; it need not be a good one. */
function otherValue({ choices }: Flag, value: FlagValues[FlagName]): unknown {
  if (choices) return choices.find((choice) => choice !== value);
  if (typeof value === "boolean") return !value;
  if (typeof value === "number") return value === 0 ? 1 : value / 2;
  return typeof value === "string" ? `${value}1` : [...value ?? [], "1"];
}

const [dataFlags, pairFlags] = [[pictureFlags, sizeFlags, captionFlags], [twoNetworkFlags]].map((groups) =>
  groups.flatMap(({ flags }) => flags.map(({ name }): string => name))
);

/**
 * A sentence for each flag that decides nothing, with the reason.
 *
 * @param idle What {@linkcode idleFlags} found.
 */
export function idleNotes({ values, isPair }: Settings, idle: readonly FlagName[]): string[] {
  return idle.map((name) => {
    const { counts } = flagsByName.get(name)!, first = name.replace(/_2$/, "");
    const isSecond = name !== first, second = flagsByName.get(`${name}_2`);
    const file = isSecond ? values.dataset_config_2 : values.dataset_config;
    const reasons = !isPair && (isSecond || pairFlags.includes(name))
      ? ["one network is trained alone, as there are no data for network 2"]
      : [
        ...counts === undefined ? [] : [`it counts only ${counts}`],
        ...file && dataFlags.includes(first) ? [`what ${file} says comes first`] : [],
        ...isPair && second && values[second.name as FlagName] !== null
          ? [`network 2 has --${second.name}, and network 1 has no use for it`]
          : [],
      ];
    return `--${name} decides nothing in this run${reasons.length ? `: ${reasons.join("; ")}` : ""}`;
  });
}
