import { parse, TomlError, type TomlTable } from "smol-toml";
import { readPlainText } from "../../steps/outputs/text_file.ts";
import { UsageError } from "../usage_error.ts";

/**
 * Reads a file of TOML.
 *
 * @param what What it holds, for errors: `settings`.
 * @returns Its text, too: lines are found in it.
 * @throws {UsageError} If there is no such file, or it is no TOML.
 */
export async function readTomlFile(path: string, what: string): Promise<{ text: string; table: TomlTable }> {
  let text: string;
  try {
    text = await readPlainText(path);
  } catch (error) {
    const code = (error as { code?: string }).code;
    if (code === "ENOENT") throw new UsageError(`Cannot read ${what} from ${path}: there is no such file`);
    if (code === "EISDIR") throw new UsageError(`Cannot read ${what} from ${path}: it is a folder`);
    throw error;
  }
  try {
    return { text, table: parse(text) };
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw new UsageError(`${path}, line ${error.line}, column ${error.column}: ${error.message.split("\n")[0]}`);
  }
}

/** Whether a value of TOML is a table. */
export function isTable(value: unknown): value is TomlTable {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
