import { deepEqual, equal, match, ok } from "node:assert/strict";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as d from "../../mod.ts";
import { inNewFolder, resultOf, startScript } from "../examples/run_example.ts";

/** A recipe that holds `out/last` for as long as it runs, in a run folder of its own; it says when it has begun, and ends when it is told to. */
const script = `
import * as d from ${JSON.stringify(new URL("../../mod.ts", import.meta.url).href)};
const wait = d.defineStep({
  name: "wait",
  claims: ["out/last"],
  run: async () => {
    console.log("begun");
    if (Deno.args[1] === "stay") await new Promise((resolve) => setTimeout(resolve, 60_000));
  },
});
await d.runRecipe(d.pipeline("waiting").use(wait), { folder: Deno.args[0], args: [] });
`;

/** Waits until a process has printed something. */
async function begun(child: Deno.ChildProcess): Promise<void> {
  const reader = child.stdout.getReader();
  let text = "";
  while (!text.includes("begun")) {
    const { value, done } = await reader.read();
    ok(!done, `it ended: ${text}`);
    text += new TextDecoder().decode(value);
  }
  reader.releaseLock();
}

Deno.test({
  name: "A second process is refused the same output files, and gets them when the first was killed or is done",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inNewFolder(async (folder) => {
      const path = join(folder, "recipe.ts");
      await writeFile(path, script);
      const start = (...args: string[]) => startScript(path, folder, { args });
      const first = start("one", "stay");
      await begun(first);
      const { code, stderr } = await resultOf(start("two"));
      equal(code, 2, stderr);
      match(stderr, new RegExp(`Cannot write .*out/last: another run writes it \\(process ${first.pid} on `));
      // Killed, it leaves the lock's file behind, and no lock.
      first.kill("SIGKILL");
      await first.status;
      await Promise.all([first.stdout.cancel(), first.stderr.cancel()]);
      deepEqual(await readdir(join(folder, "out")), [".last.lock"]);
      // What the file says may be anybody's number by now: it is not asked.
      await writeFile(join(folder, "out", ".last.lock"), JSON.stringify({ pid: Deno.pid, host: "a", since: "b" }));
      const third = await resultOf(start("three"));
      equal(third.code, 0, third.stderr);
      deepEqual(await readdir(join(folder, "out")), []);
    }),
});

Deno.test("The steps that save hold the names of what they save", () => {
  const names = { network1: "a", network2: "b" }, save = { folder: "out", names };
  const training = { rank: 1, steps: 1, orthogonality: { unet: 1 } };
  deepEqual(d.trainBoth({ ...training, save }).claims, ["out/a", "out/b"]);
  const { network1 } = d.things;
  deepEqual(d.saveNetworks({ folder: "out", networks: { network1 }, names: { network1: "a" } }).claims, ["out/a"]);
  deepEqual(d.pretrainNetwork1({ rank: 1, steps: 1 }).claims, []);
});
