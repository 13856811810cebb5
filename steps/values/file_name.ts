import { basename } from "node:path";

/** File systems take 255 bytes; epochs, steps, endings and the names of files on their way in are added. */
const mostBytes = 128;
/** Names that Windows keeps for devices, whatever ending they have. */
const devices = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;

/** What is wrong with the name of a file that is to be written, as the end of a sentence; null if nothing is. */
export function nameProblem(name: string): string | null {
  if (name.includes("\0")) return "has a character of the code 0";
  const bytes = new TextEncoder().encode(name).length;
  if (bytes > mostBytes) return `has ${bytes} bytes, may have ${mostBytes}`;
  return devices.test(name) ? "is the name of a device on Windows" : null;
}

/**
 * Checks a file's name without its ending: it may not lead out of its folder, and every file system must take it.
 *
 * @param purpose What the message says cannot be done.
 * @throws {TypeError} If it is none.
 */
export function checkFileName(name: string, purpose = "save networks"): void {
  const refuse = (problem: string) => {
    throw new TypeError(`Cannot ${purpose}: ${JSON.stringify(name)} ${problem}`);
  };
  const isName = name === basename(name) && /^[\p{L}\p{N}_. ()-]+$/u.test(name) && /[^. ]/.test(name);
  if (!isName) refuse("is no file name; use letters, digits, blanks, _, -, . and ()");
  if (name.startsWith(".")) refuse("begins with a dot, which hides files; begin it with a letter or digit");
  const problem = nameProblem(name);
  if (problem !== null) refuse(`${problem}; choose another`);
}

/** Whether an option is a path: a text with no character of the code 0, which no system can open. */
export function isPath(value: unknown): value is string {
  return typeof value === "string" && value !== "" && !value.includes("\0");
}
