import type { NamedPlaces } from "../settings/named_places.ts";
import { UsageError } from "../usage_error.ts";
import { expandSweep } from "./expand_sweep.ts";
import { readSweepFile } from "./sweep_file.ts";

/** Flags that name models. */
const modelFlags = ["pretrained_model_name_or_path", "pretrained_model_name_or_path_2", "vae"];

/**
 * Models that a sweep's runs ask for, and the folder that it writes to.
 *
 * @param folder Takes the place of the one in the file.
 * @returns None where the file cannot be read; whoever runs it says why.
 */
export async function sweepPlaces(file: string, folder: string | undefined): Promise<NamedPlaces> {
  try {
    const sweep = await readSweepFile(file, folder);
    const named = expandSweep(sweep).flatMap(({ values }) => modelFlags.map((flag) => values.get(flag)?.value));
    // What is no path is refused by the program itself.
    const models = named.filter((name) => typeof name === "string" && name !== "" && !name.includes("\0"));
    return { models: [...new Set(models)] as string[], written: [sweep.folder] };
  } catch (error) {
    if (error instanceof UsageError) return { models: [], written: [] };
    throw error;
  }
}
