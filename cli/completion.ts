import { fileURLToPath } from "node:url";
import type { Flag } from "./flags/flag.ts";
import { flagsByName } from "./flags/table.ts";
import { shellQuoted } from "./shell_text.ts";
import { UsageError } from "./usage_error.ts";

/** Shells that flags can be completed in. */
export const shells = ["bash", "zsh", "fish"] as const;

/** Commands by name, with what they do. */
export type Commands = ReadonlyMap<string, string>;

/** Values of these flags are paths. */
const pathValues = ["file", "folder", "model"];

/** Flags that are worth completing: those that are not refused. */
function offered(): Flag[] {
  return [...flagsByName.values()].filter(({ status }) => !(typeof status === "object" && "refused" in status));
}

/**
 * What a shell reads to know the command `dualora` and to complete its words.
 *
 * @throws {UsageError} If the shell is not one of {@linkcode shells}.
 */
export function completionScript(shell: string, commands: Commands): string {
  switch (shell) {
    case "bash":
      return bashScript(commands);
    case "zsh":
      return zshScript(commands);
    case "fish":
      return fishScript(commands);
    default:
      throw new UsageError(`There is no completion for ${JSON.stringify(shell)}; shells are ${shells.join(", ")}`);
  }
}

/** Starts the program from whatever folder the shell is in. */
function commandLine(quote: (path: string) => string): string {
  const path = (name: string) => quote(fileURLToPath(new URL(`../${name}`, import.meta.url)));
  return `deno run -A ${path("tools/launch.ts")} ${path("cli/main.ts")}`;
}

function bashScript(commands: Commands): string {
  const cases = offered().filter(({ type }) => type !== "switch").map((flag) => {
    const words = valuesOf(flag);
    const reply = words
      ? `$(compgen -W "${words.join(" ")}" -- "$current")`
      : isPath(flag)
      ? '$(compgen -f -- "$current")'
      : "";
    return `        --${flag.name}) COMPREPLY=(${reply}); return ;;`;
  });
  return [
    '# In ~/.bashrc, with the project\'s folder: eval "$(deno run -A <folder>/tools/launch.ts <folder>/cli/main.ts completion bash)"',
    `dualora() { ${commandLine(shellQuoted)} "$@"; }`,
    "_dualora() {",
    '  local current="${COMP_WORDS[COMP_CWORD]}" flag="${COMP_WORDS[COMP_CWORD-1]}"',
    "  COMPREPLY=()",
    "  # Bash makes three words of --flag=value.",
    '  if [[ $current == = ]]; then current=""; elif [[ $flag == = ]]; then flag="${COMP_WORDS[COMP_CWORD-2]}"; fi',
    "  if (( COMP_CWORD == 1 )); then",
    `    COMPREPLY=($(compgen -W "${[...commands.keys()].join(" ")}" -- "$current"))`,
    "    return",
    "  fi",
    '  case "${COMP_WORDS[1]}" in',
    `    completion) COMPREPLY=($(compgen -W "${shells.join(" ")}" -- "$current")) ;;`,
    "    train)",
    '      case "$flag" in',
    ...cases,
    "      esac",
    `      COMPREPLY=($(compgen -W "${offered().map(({ name }) => `--${name}`).join(" ")}" -- "$current"))`,
    "      ;;",
    '    *) COMPREPLY=($(compgen -f -- "$current")) ;;',
    "  esac",
    "}",
    "complete -F _dualora dualora",
    "",
  ].join("\n");
}

function zshScript(commands: Commands): string {
  const specifications = offered().map((flag) => {
    const { name, type, does } = flag, words = valuesOf(flag);
    const action = words ? `(${words.join(" ")})` : isPath(flag) ? "_files" : "";
    const value = type === "switch" ? "" : `:${flag.value ?? type}:${action}`;
    const text = does.replace(/[[\]:\\]/g, "\\$&");
    return `        ${shellQuoted(`--${name}${type === "switch" ? "" : "="}[${text}]${value}`)}`;
  });
  return [
    '# In ~/.zshrc, behind compinit, with the project\'s folder: eval "$(deno run -A <folder>/tools/launch.ts <folder>/cli/main.ts completion zsh)"',
    `dualora() { ${commandLine(shellQuoted)} "$@"; }`,
    "_dualora() {",
    "  if (( CURRENT == 2 )); then",
    `    _values command ${[...commands].map(([name, does]) => shellQuoted(`${name}[${does}]`)).join(" ")}`,
    "    return",
    "  fi",
    "  case $words[2] in",
    `    completion) _values shell ${shells.join(" ")} ;;`,
    "    train)",
    "      shift words; (( CURRENT-- ))",
    "      _arguments \\",
    specifications.join(" \\\n"),
    "      ;;",
    "    *) _files ;;",
    "  esac",
    "}",
    "compdef _dualora dualora",
    "",
  ].join("\n");
}

function fishScript(commands: Commands): string {
  const isFirst = "not __fish_seen_subcommand_from " + [...commands.keys()].join(" ");
  const lines = offered().map((flag) => {
    const words = valuesOf(flag);
    const value = flag.type === "switch"
      ? ""
      : words
      ? ` -xa ${fishQuoted(words.join(" "))}`
      : isPath(flag)
      ? " -rF"
      : " -x";
    return `complete -c dualora -n '__fish_seen_subcommand_from train' -l ${flag.name}${value} -d ${
      fishQuoted(flag.does)
    }`;
  });
  return [
    "# In ~/.config/fish/config.fish, with the project's folder: deno run -A <folder>/tools/launch.ts <folder>/cli/main.ts completion fish | source",
    `function dualora; ${commandLine(fishQuoted)} $argv; end`,
    // Of train the flags say which values are paths; the tools take files.
    "complete -c dualora -n '__fish_seen_subcommand_from train completion new' -f",
    `complete -c dualora -n ${fishQuoted(isFirst)} -f`,
    ...[...commands].map(([name, does]) =>
      `complete -c dualora -n ${fishQuoted(isFirst)} -a ${name} -d ${fishQuoted(does)}`
    ),
    `complete -c dualora -n '__fish_seen_subcommand_from completion' -a ${fishQuoted(shells.join(" "))}`,
    ...lines,
    "",
  ].join("\n");
}

/** Words to choose from; undefined where the value is free. */
function valuesOf({ type, choices }: Flag): readonly string[] | undefined {
  return type === "boolean" ? ["True", "False"] : choices?.map(String);
}

function isPath({ value }: Flag): boolean {
  return value !== undefined && pathValues.includes(value);
}

function fishQuoted(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}
