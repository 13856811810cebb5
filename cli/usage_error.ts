/** A command, a settings file or an answer that the user has to change: exit code 2. */
export class UsageError extends Error {
  override name = "UsageError";
}
