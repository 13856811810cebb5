import { Command, Option } from "@commander-js/extra-typings";
import type { Flag, FlagDefault } from "../flags/flag.ts";
import { flagGroups, flagsByName } from "../flags/table.ts";
import { readWord } from "./read_value.ts";

/** `train` with all flags that it takes; it reads what `argparseWords` wrote. */
export function makeTrainCommand(): Command {
  const command = new Command("train").exitOverride().summary("train two networks against each other, or one alone")
    .description(
      "Trains two LoRA networks so that they keep apart, or one alone if there is no data for network 2.\n" +
        "The flags are those of sd-scripts and of train_dualnetwork.py. [_2] marks flags that are there for network 2 as well, such as --network_dim_2; " +
        "it takes network 1's value where its own is left out.",
    );
  for (const { title, flags } of flagGroups) {
    for (const flag of flags) {
      // What [_2] says of a flag needs no entry of its own.
      const isHidden = isRefused(flag) ||
        flagsByName.get(flag.name.replace(/_2$/, ""))?.second && flag.name.endsWith("_2");
      command.addOption(optionOf(flag).helpGroup(`${title}:`).hideHelp(isHidden === true));
    }
  }
  command.configureHelp({
    optionDescription: ({ description }) => description,
    // Flags and their sentences are too long for two columns.
    formatItem: (term, _, description, helper) => {
      const width = (helper.helpWidth ?? 80) - 6;
      return `  ${helper.styleOptionTerm(term)}\n${helper.boxWrap(description, width).replace(/^/gm, "      ")}`;
    },
  });
  command.addHelpText(
    "after",
    "Flags that are not here are refused, each with its reason: docs/flags.md lists them all.",
  );
  return command;
}

function isRefused({ status }: Flag): boolean {
  return typeof status === "object" && "refused" in status;
}

/** A list that is given without words is empty: commander calls it true. */
const withoutWords = true;

function optionOf(flag: Flag): Option {
  const { name, type } = flag, value = valueText(flag);
  const term = {
    switch: "",
    boolean: " [True|False]",
    list: ` [${value}...]`,
    text: ` <${value}>`,
    integer: ` <${value}>`,
    number: ` <${value}>`,
  }[type];
  const option = new Option(`--${name}${term}`, descriptionOf(flag));
  if (type !== "switch") {
    option.argParser((word: string, before: unknown) =>
      type === "list" ? [...Array.isArray(before) ? before : [], word] : readWord(flag, word)
    );
  }
  return option.default(flag.default);
}

/** What stands for a flag's value in the help: its choices, if they fit on the line. */
function valueText({ type, choices, value }: Flag): string {
  const listed = choices?.join("|");
  return listed !== undefined && listed.length <= longestChoices ? listed : value ?? type;
}

/** Letters of choices that are listed beside a flag; longer lists stand in its sentence. */
const longestChoices = 40;

/** What a flag does, what is special about it here, and its default. */
function descriptionOf(flag: Flag): string {
  const { does, counts, status, second, alias, choices = [] } = flag;
  const isListed = choices.length > 0 && !valueText(flag).includes("|");
  const means = typeof status === "object" && "means" in status ? ` (here: ${status.means})` : "";
  const notes = [second ? "[_2]" : "", alias ? `also --${alias}` : "", defaultText(flag)].filter((note) => note !== "");
  return `${does}${isListed ? `: ${choices.join(", ")}` : ""}${counts ? `; counts only ${counts}` : ""}${means}${
    notes.length > 0 ? `; ${notes.join("; ")}` : ""
  }`;
}

/** A flag's default for reading, the one for a network alone too where that differs; empty where it is unset or off. */
export function defaultText({ default: common, alone }: Flag): string {
  const text = (value: FlagDefault) => value === null ? "unset" : value === "" ? "empty" : String(value);
  if (alone !== undefined) return `default ${text(common)}, one network alone: ${text(alone)}`;
  return common === null || common === false ? "" : `default ${text(common)}`;
}

/** All values of a parsed command, by the names of the flags. */
export function rawValues(command: Command): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(command.opts()).map(([name, value]) => [name, isEmptyList(name, value) ? [] : value]),
  );
}

function isEmptyList(name: string, value: unknown): boolean {
  return value === withoutWords &&
    flagGroups.some(({ flags }) => flags.some((flag) => flag.name === name && flag.type === "list"));
}
