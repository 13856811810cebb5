import type { FloatFormat } from "./types.ts";

let current: FloatFormat = "f32";

/**
 * Runs `body`; the activations that it traces are stored in this format: the outputs that ops mark as such (`narrows`), where four elements at a time fit their
 * last axis. Sums are f32 all the same, and so are gradients, which are traced outside.
 */
export function storingActivations<T>(format: FloatFormat, body: () => T): T {
  const outer = current;
  current = format;
  try {
    return body();
  } finally {
    current = outer;
  }
}

/** The format of an activation traced now. */
export function activationFormat(): FloatFormat {
  return current;
}
