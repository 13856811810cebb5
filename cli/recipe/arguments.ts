import { nearestName } from "../../steps/values/nearest_name.ts";
import type { FlagName } from "../flags/table.ts";
import { UsageError } from "../usage_error.ts";

/** Names that a flag's words may have, with what their values must be; `undefined` says that a text is something else. */
export type ArgumentKinds = Readonly<
  Record<string, { readonly wanted: string; readonly read: (text: string) => unknown }>
>;

/**
 * Words such as `conv_dim=4` by their names, as `--network_args` takes them.
 *
 * @param flag The flag that they were given to, for errors.
 * @throws {UsageError} If a word has no `=`, or a name is unknown or there twice, or a value is none.
 */
export function readArguments<const Kinds extends ArgumentKinds>(
  flag: FlagName,
  words: readonly string[] | null,
  kinds: Kinds,
): { readonly [Name in keyof Kinds]?: Exclude<ReturnType<Kinds[Name]["read"]>, undefined> } {
  const known = Object.keys(kinds), found: Record<string, unknown> = {};
  for (const word of words ?? []) {
    const equals = word.indexOf("="), name = word.slice(0, equals).trim(), text = word.slice(equals + 1).trim();
    if (equals < 0) {
      throw new UsageError(`--${flag} has ${JSON.stringify(word)}, must be name=value, such as ${known[0]}=…`);
    }
    if (!known.includes(name)) {
      const nearest = nearestName(name, known);
      throw new UsageError(
        `--${flag} has the unknown name ${name}; did you mean ${nearest}? Names are ${known.join(", ")}`,
      );
    }
    if (found[name] !== undefined) throw new UsageError(`--${flag} has ${name} twice`);
    found[name] = kinds[name].read(text);
    if (found[name] === undefined) {
      throw new UsageError(`--${flag}: ${name} is ${JSON.stringify(text)}, must be ${kinds[name].wanted}`);
    }
  }
  return found as { readonly [Name in keyof Kinds]?: Exclude<ReturnType<Kinds[Name]["read"]>, undefined> };
}
