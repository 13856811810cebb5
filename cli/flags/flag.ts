/**
 * One flag of the command line, as data. Everything that knows flags reads it: the parser, settings files, the help, the page in docs, the shells'
 * completion.
 */
export interface Flag {
  /** As on the command line, without the dashes. */
  readonly name: string;
  /** Another spelling that means the same. */
  readonly alias?: string;
  readonly type: FlagType;
  /** What it stands at when it is left out; null: unset. */
  readonly default: FlagDefault;
  /** sd-scripts' default, where the original has another: it counts where one network is trained alone. */
  readonly alone?: FlagDefault;
  /** The only values there are. */
  readonly choices?: readonly (string | number)[];
  /** What the value is, for help: `folder`, `file`, `pixels`; when left out, its type. */
  readonly value?: string;
  /** True if `<name>_2` sets it for network 2, whose value is network 1's when that is left out. */
  readonly second?: boolean;
  /** Who else knows it. */
  readonly from: FlagOrigin;
  readonly status: FlagStatus;
  /** What it does, in a sentence without its last dot. */
  readonly does: string;
  /** Beside which other flags it decides anything, behind "counts only": `with --enable_bucket`. Left out: it always does. */
  readonly counts?: string;
}

/** `switch` is there or not, `boolean` may have a value as well, `list` takes all words that follow, the others one. */
export type FlagType = "text" | "integer" | "number" | "switch" | "boolean" | "list";

/** A value that a flag stands at. */
export type FlagDefault = string | number | boolean | null;

/** `both`: sd-scripts 0.6.4 and the original; `newer`: sd-scripts' later releases; `own`: this project alone. */
export type FlagOrigin = "both" | "sd-scripts" | "original" | "newer" | "own";

/** It works as elsewhere, or it works and means something of its own here, or it is refused and says why. */
export type FlagStatus = "works" | { readonly means: string } | { readonly refused: string };

/** Flags that belong together by what somebody wants to do with them. */
export interface FlagGroup<Flags extends readonly Flag[] = readonly Flag[]> {
  /** Heading in the help. */
  readonly title: string;
  readonly flags: Flags;
}

/** Makes a group; the compiler keeps each flag's own name and type. */
export function flagGroup<const Flags extends readonly Flag[]>(title: string, flags: Flags): FlagGroup<Flags> {
  return { title, flags };
}

/** Type of a flag's value, `null` where it can be unset. */
export type FlagValue<F extends Flag> =
  | (F extends { readonly choices: readonly (infer Choice)[] } ? Choice : PlainValue<F["type"]>)
  | (F extends { readonly default: null } | { readonly alone: null } ? null : never);

type PlainValue<Type extends FlagType> = Type extends "text" ? string
  : Type extends "integer" | "number" ? number
  : Type extends "list" ? readonly string[]
  : boolean;
