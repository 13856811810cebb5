import { UsageError } from "./usage_error.ts";

/** A text as a whole number above 0; null if it is none. */
export function countIn(text: string): number | null {
  const value = Number(text);
  return Number.isSafeInteger(value) && value > 0 ? value : null;
}

/**
 * A flag's value as a whole number above 0.
 *
 * @throws {UsageError} If it is none.
 */
export function wholeNumber(name: string, text: string): number {
  const value = countIn(text);
  if (value !== null) return value;
  throw new UsageError(`--${name} is ${JSON.stringify(text)}, must be a whole number above 0`);
}
