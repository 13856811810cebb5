import { isFault } from "../exit_codes.ts";
import { UsageError } from "../usage_error.ts";

/** Runs a tool; whatever it refuses is for the user to change. Faults of the program stay what they are. */
export async function answering(body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    if (!(error instanceof Error) || error instanceof UsageError || isFault(error)) throw error;
    const { code, path } = error as { code?: string; path?: string };
    const isMissing = code === "ENOENT" && path !== undefined;
    throw new UsageError(isMissing ? `Cannot read ${path}: there is no such file` : error.message, { cause: error });
  }
}
