import { UsageError } from "../usage_error.ts";

/** Runs a tool; whatever it refuses is for the user to change. */
export async function answering(body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const { code, path } = error as { code?: string; path?: string };
    const isMissing = code === "ENOENT" && path !== undefined;
    throw new UsageError(isMissing ? `Cannot read ${path}: there is no such file` : error.message, { cause: error });
  }
}
