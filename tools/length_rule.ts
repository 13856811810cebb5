/** Lines that no file with a program may have more of. */
const mostLines = 500;

/** What is wrong with a file's length; null where nothing is. */
export function describeLength(text: string): string | null {
  const lines = text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
  return lines > mostLines ? `has ${lines} lines, may have ${mostLines}: split it by what its parts do` : null;
}
