/**
 * Checks that every public symbol has a doc comment: `deno doc --lint` on each `mod.ts`; exit code 1 if one has not.
 * `deno run -A tools/check_docs.ts`
 *
 * @module
 */
import { listSourceFiles, projectFolder } from "./project_files.ts";

const doors = (await listSourceFiles()).filter((file) => file === "mod.ts" || file.endsWith("/mod.ts"));
if (doors.length === 0) {
  console.error(`Cannot check doc comments: there is no mod.ts in ${projectFolder}`);
  Deno.exit(1);
}
const { code, stderr } = await new Deno.Command(Deno.execPath(), {
  args: ["doc", "--lint", "--quiet", ...doors],
  cwd: projectFolder,
  stdout: "null",
}).output();
await Deno.stderr.write(stderr);
console.log(`Doc comments: ${doors.join(", ")}: ${code === 0 ? "all there" : "problems"}`);
Deno.exit(code === 0 ? 0 : 1);
