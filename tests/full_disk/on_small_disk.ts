/**
 * Runs a script of the project with a file system of its own at `disk` in the working folder: `on_small_disk.ts <megabytes> <script> [arguments]`. It is mounted in
 * a namespace that ends with the process. Ends with the script's exit code, or with 99 where the system does not permit that.
 *
 * @module
 */
import { mkdir } from "node:fs/promises";

const [megabytes, ...script] = Deno.args;
await mkdir("disk", { recursive: true });
const mounting = `mount -t tmpfs -o size=${megabytes}m none disk 2>/dev/null || exit 99; exec "$@"`;
const command = ["sh", "-c", mounting, "sh", Deno.execPath(), "run", "-A", ...script];
try {
  const child = new Deno.Command("unshare", { args: ["--user", "--map-root-user", "--mount", ...command] }).spawn();
  const { code } = await child.status;
  // What unshare itself ends with where it may not.
  Deno.exit(code === 1 && script.length === 0 ? 99 : code);
} catch (error) {
  if (error instanceof Deno.errors.NotFound) Deno.exit(99);
  throw error;
}
