import { isHubId } from "../models/checkpoint/hub.ts";

/**
 * The permission for the network, where a command line names a model on the hub; else none.
 *
 * @param words Words of the command line: flags of deno run, a script, its arguments.
 * @param exists Whether a path is there; such a name is a folder or file, not the hub's.
 */
export async function networkFlags(words: readonly string[], exists: (path: string) => boolean): Promise<string[]> {
  const script = words.findIndex((word) => /(^|[/\\])cli[/\\]main\.ts$/.test(word));
  if (script < 0 || words[script + 1] !== "train") return [];
  // Other programs start without the command line's own parts.
  const { modelNames } = await import("../cli/settings/model_names.ts");
  const names = await modelNames(words.slice(script + 2));
  return names.some((name) => isHubId(name) && !exists(name)) ? ["--allow-net"] : [];
}
