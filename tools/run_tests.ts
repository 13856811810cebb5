/**
 * Runs all tests, documentation examples among them, and ends with a line `N passed, N failed`:
 * `deno run -A tools/run_tests.ts [files or flags of deno test]`. Exit code 0 only if a test ran and none failed.
 *
 * @module
 */
import { launchEnvironment } from "./launch_environment.ts";
import { forwardSignals, permissionFlags } from "./launch.ts";
import { setUpOrExit } from "./setup.ts";
import { countTests } from "./test_summary.ts";

await setUpOrExit();
const cache = await Deno.makeTempDir({ prefix: "dualora-cache-" });
const child = new Deno.Command(Deno.execPath(), {
  args: ["test", "--doc", ...permissionFlags, "--allow-net=127.0.0.1", `--allow-run=${Deno.execPath()}`, ...Deno.args],
  // Tests leave nothing in the user's own.
  env: { DUALORA_CACHE: cache, ...launchEnvironment(), ...Deno.stdout.isTerminal() ? { FORCE_COLOR: "1" } : {} },
  stdin: "null",
  stdout: "piped",
}).spawn();
const stopForwarding = forwardSignals(child);

const decoder = new TextDecoder();
let output = "";
for await (const bytes of child.stdout) {
  await Deno.stdout.write(bytes);
  output += decoder.decode(bytes, { stream: true });
}
const { success } = await child.status;
stopForwarding();
await Deno.remove(cache, { recursive: true });

const { passed, failed } = countTests(output, success);
if (passed + failed === 0) console.error("No test ran");
console.log(`${passed} passed, ${failed} failed`);
Deno.exit(success && passed > 0 && failed === 0 ? 0 : 1);
