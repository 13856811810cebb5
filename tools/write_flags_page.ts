/**
 * Writes `docs/flags.md` from the table of flags: `deno run -A tools/write_flags_page.ts`.
 *
 * @module
 */
import { writeFile } from "node:fs/promises";
import { flagsPage } from "../cli/flags_page.ts";

if (import.meta.main) await writeFile(new URL("../docs/flags.md", import.meta.url), flagsPage());
