import { nearestName } from "../../steps/values/nearest_name.ts";
import type { FlagName } from "../flags/table.ts";
import { UsageError } from "../usage_error.ts";

/**
 * Words such as `conv_dim=4` by their names, as `--network_args` and `--optimizer_args` take them.
 *
 * @param flag The flag that they were given to, for errors.
 * @param known Names that mean something.
 * @throws {UsageError} If a word has no `=`, or a name is unknown or there twice.
 */
export function namedArguments<Name extends string>(
  flag: FlagName,
  words: readonly string[] | null,
  known: readonly Name[],
): Partial<Record<Name, string>> {
  const found: Partial<Record<Name, string>> = {};
  for (const word of words ?? []) {
    const equals = word.indexOf("="), name = word.slice(0, equals).trim() as Name;
    if (equals < 0) {
      throw new UsageError(`--${flag} has ${JSON.stringify(word)}, must be name=value, such as ${known[0]}=…`);
    }
    if (!known.includes(name)) {
      throw new UsageError(
        `--${flag} has the unknown name ${name}; did you mean ${nearestName(name, known)}? Names are ${
          known.join(", ")
        }`,
      );
    }
    if (found[name] !== undefined) throw new UsageError(`--${flag} has ${name} twice`);
    found[name] = word.slice(equals + 1).trim();
  }
  return found;
}

/** A value that one of a flag's words should have had. */
export function wrongArgument(flag: FlagName, name: string, value: string, wanted: string): UsageError {
  return new UsageError(`--${flag}: ${name} is ${JSON.stringify(value)}, must be ${wanted}`);
}
