import { UsageError } from "./usage_error.ts";

/**
 * A flag's value as a whole number above 0.
 *
 * @throws {UsageError} If it is none.
 */
export function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isSafeInteger(value) && value > 0) return value;
  throw new UsageError(`--${name} is ${JSON.stringify(text)}, must be a whole number above 0`);
}
