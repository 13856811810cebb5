import { fileURLToPath } from "node:url";
import type { Flag } from "./flags/flag.ts";
import { flagsByName } from "./flags/table.ts";
import { UsageError } from "./usage_error.ts";

/** Shells that flags can be completed in. */
export const shells = ["bash", "zsh", "fish"] as const;

const subcommands = {
  train: "train two networks, or one",
  new: "write a recipe",
  inspect: "metadata, ranks and strength of a LoRA file",
  convert: "rename the tensors of a LoRA file",
  merge: "merge LoRA files, or into a base model",
  resize: "give a LoRA file smaller ranks",
  extract: "the difference of two bases as a LoRA file",
  completion: "print a completion script",
};

/** Values of these flags are paths. */
const pathValues = ["file", "folder", "model"];

/** Flags that are worth completing: those that are not refused. */
function offered(): Flag[] {
  return [...flagsByName.values()].filter(({ status }) => !(typeof status === "object" && "refused" in status));
}

/**
 * What a shell reads to complete `dualora` and `deno task train`.
 *
 * @throws {UsageError} If the shell is not one of {@linkcode shells}.
 */
export function completionScript(shell: string): string {
  switch (shell) {
    case "bash":
      return bashScript();
    case "zsh":
      return zshScript();
    case "fish":
      return fishScript();
    default:
      throw new UsageError(`There is no completion for ${JSON.stringify(shell)}; shells are ${shells.join(", ")}`);
  }
}

/** Starts the program from whatever folder the shell is in. */
function commandLine(quote: (path: string) => string): string {
  const path = (name: string) => quote(fileURLToPath(new URL(`../${name}`, import.meta.url)));
  return `deno run -A ${path("tools/launch.ts")} ${path("cli/main.ts")}`;
}

function bashScript(): string {
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
    `dualora() { ${commandLine(singleQuoted)} "$@"; }`,
    "_dualora() {",
    '  local current="${COMP_WORDS[COMP_CWORD]}" flag="${COMP_WORDS[COMP_CWORD-1]}"',
    "  COMPREPLY=()",
    "  # Bash makes three words of --flag=value.",
    '  if [[ $current == = ]]; then current=""; elif [[ $flag == = ]]; then flag="${COMP_WORDS[COMP_CWORD-2]}"; fi',
    "  if (( COMP_CWORD == 1 )); then",
    `    COMPREPLY=($(compgen -W "${Object.keys(subcommands).join(" ")}" -- "$current"))`,
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
    "  esac",
    "}",
    "complete -F _dualora dualora",
    "",
  ].join("\n");
}

function zshScript(): string {
  const specifications = offered().map((flag) => {
    const { name, type, does } = flag, words = valuesOf(flag);
    const action = words ? `(${words.join(" ")})` : isPath(flag) ? "_files" : "";
    const value = type === "switch" ? "" : `:${flag.value ?? type}:${action}`;
    const text = does.replace(/[[\]:\\]/g, "\\$&");
    return `        ${singleQuoted(`--${name}${type === "switch" ? "" : "="}[${text}]${value}`)}`;
  });
  return [
    '# In ~/.zshrc, behind compinit, with the project\'s folder: eval "$(deno run -A <folder>/tools/launch.ts <folder>/cli/main.ts completion zsh)"',
    `dualora() { ${commandLine(singleQuoted)} "$@"; }`,
    "_dualora() {",
    "  if (( CURRENT == 2 )); then",
    `    _values command ${
      Object.entries(subcommands).map(([name, does]) => singleQuoted(`${name}[${does}]`)).join(" ")
    }`,
    "    return",
    "  fi",
    "  case $words[2] in",
    `    completion) _values shell ${shells.join(" ")} ;;`,
    "    train)",
    "      shift words; (( CURRENT-- ))",
    "      _arguments \\",
    specifications.join(" \\\n"),
    "      ;;",
    "  esac",
    "}",
    "compdef _dualora dualora",
    "",
  ].join("\n");
}

function fishScript(): string {
  const isFirst = "not __fish_seen_subcommand_from " + Object.keys(subcommands).join(" ");
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
    "complete -c dualora -f",
    ...Object.entries(subcommands).map(([name, does]) =>
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

function singleQuoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function fishQuoted(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}
