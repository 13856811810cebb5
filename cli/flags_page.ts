import type { Flag, FlagOrigin } from "./flags/flag.ts";
import { flagGroups } from "./flags/table.ts";
import { defaultText } from "./settings/train_command.ts";

const origins: Readonly<Record<FlagOrigin, string>> = {
  both: "both",
  original: "train_dualnetwork.py",
  "sd-scripts": "sd-scripts",
  newer: "newer sd-scripts",
  own: "here only",
};

/** `docs/flags.md`: all flags, by group, with what each does here. */
export function flagsPage(): string {
  const flags = flagGroups.flatMap((group) => group.flags),
    count = (of: (flag: Flag) => boolean) => flags.filter(of).length;
  return [
    "# Flags of `train`",
    "",
    "All flags of sd-scripts 0.6.4 (`train_network.py`) and of `train_dualnetwork.py`, and some that are there in newer releases or here only. Of " +
    `${flags.length} flags ${count((flag) => statusWord(flag) === "works")} work, ${
      count((flag) => statusWord(flag) === "means")
    } work and mean ` +
    `something of their own, ${
      count((flag) => statusWord(flag) === "refused")
    } are refused. Nothing is passed over in silence: a refused flag ends the ` +
    "command with exit code 2, unless it only repeats its default.",
    "",
    "- Of a flag that is given and decides nothing in a run a note says so before the run, with what it counts only with.",
    "- A flag that ends in `_2` is for network 2, which has network 1's value where it is left out. Data folders and weights have no such fallback.",
    "- Where the two programs have different defaults, the original's count for two networks and sd-scripts' for one network alone.",
    "- Written by `deno run -A tools/write_flags_page.ts` from the table in `cli/flags`; a test compares them.",
    ...flagGroups.flatMap((
      { title, flags },
    ) => ["", `## ${title}`, "", "| Flag | Known to | Does | Here |", "| --- | --- | --- | --- |", ...flags.map(row)]),
    "",
  ].join("\n");
}

function row(flag: Flag): string {
  const { name, alias, type, choices, value, status, does, counts, from } = flag;
  const argument = type === "switch"
    ? ""
    : type === "boolean"
    ? "[=True\\|False]"
    : ` ${choices?.join("\\|") ?? value?.replaceAll("|", "\\|") ?? type}${type === "list" ? " …" : ""}`;
  const names = [`--${name}${argument}`, ...alias ? [`--${alias}`] : []].map((each) =>
    `\`${each.replaceAll("\\|", "|")}\``.replaceAll("|", "\\|")
  ).join(", ");
  const defaults = defaultText(flag), only = counts ? [`counts only ${counts}`] : [];
  const sentence = [does, ...only, ...defaults ? [defaults] : []].join("; ");
  const here = status === "works"
    ? "works"
    : "means" in status
    ? `works and means: ${status.means}`
    : `refused: ${status.refused}`;
  return `| ${names} | ${origins[from]} | ${tableText(sentence)} | ${tableText(here)} |`;
}

function statusWord({ status }: Flag): "works" | "means" | "refused" {
  return status === "works" ? "works" : "means" in status ? "means" : "refused";
}

function tableText(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;");
}
