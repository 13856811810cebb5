import { isHubId } from "../models/checkpoint/hub.ts";

const modelFlags = ["pretrained_model_name_or_path", "pretrained_model_name_or_path_2", "vae"];

/**
 * The permission for the network, where a command line names a model on the hub; else none.
 *
 * @param words Words of the command line.
 * @param exists Whether a path is there; such a name is a folder or file, not the hub's.
 */
export function networkFlags(words: readonly string[], exists: (path: string) => boolean): string[] {
  const values = words.flatMap((word, index) => {
    const [, name, value] = word.match(/^--([a-z0-9_]+)(?:=(.*))?$/) ?? [];
    return name !== undefined && modelFlags.includes(name) ? [value ?? words[index + 1] ?? ""] : [];
  });
  return values.some((value) => isHubId(value) && !exists(value)) ? ["--allow-net"] : [];
}
