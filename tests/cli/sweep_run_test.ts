import { deepEqual, equal, match, notDeepEqual } from "node:assert/strict";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readLora } from "../../formats/lora_file.ts";
import { gatherSweep } from "../../cli/sweep/gather.ts";
import { lockFolder } from "../../pipeline/mod.ts";
import * as d from "../../mod.ts";
import { inNewFolder, resultOf, runCommand, startCommand, startScript } from "../examples/run_example.ts";
import { copyPictures } from "../steps/small_training.ts";

const sweep = `output_dir = "out"
seeds = [1, 2]
[settings]
pretrained_model_name_or_path = "toy"
train_data_dir = "character"
caption_extension = ".txt"
resolution = 64
max_train_steps = 1
network_train_unet_only = true
`;

async function codesOf(folder: string): Promise<unknown> {
  const names = (await readdir(join(folder, "out/runs"))).sort();
  return await Promise.all(names.map(async (name) => {
    const text = await readFile(join(folder, "out/runs", name, "attempts.json"), "utf8").catch(() => "[]");
    return [name, ...JSON.parse(text).map(({ code }: { code: number }) => code)];
  }));
}

Deno.test({
  name:
    "a sweep runs in order here: what fails does not stop the others, SIGTERM ends it with 75, and the same command goes on",
  // Windows cannot send a signal to one process.
  ignore: Deno.build.os === "windows",
  fn: () =>
    inNewFolder(async (folder) => {
      await copyPictures(d.toy.character, join(folder, "character"), 1);
      await writeFile(join(folder, "sweep.toml"), sweep);
      // With Slurm, the batch script is all that is made.
      await writeFile(join(folder, "sbatch"), "");
      const main = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
      const written = await resultOf(
        startScript(main, folder, { args: ["sweep", "sweep.toml"], env: { PATH: folder } }),
      );
      equal(written.code, 0, written.stderr);
      match(written.stdout, /^2 runs are ready for Slurm;.*\n\n {2}sbatch out\/sweep\.sbatch\n/);
      deepEqual(await codesOf(folder), [["seed-1"], ["seed-2"]]);

      // The first run's folder is taken; the second is stopped.
      const args = ["sweep", "sweep.toml", "--local"], held = await lockFolder(join(folder, "out/runs/seed-1"));
      const rows = await gatherSweep(join(folder, "out"));
      deepEqual(rows.map(({ state }) => state), ["running", "not begun"]);
      const child = startCommand(args, folder), said = new Response(child.stderr).text();
      let printed = "";
      for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
        const begins = /pretrain network 1: starts/, isNew = !begins.test(printed) && begins.test(printed + text);
        printed += text;
        if (isNew) child.kill("SIGTERM");
      }
      equal((await child.status).code, 75, printed);
      match(await said, /Cannot run in out\/runs\/seed-1: another run works there/);
      match(printed, /run 1 of 2: seed-1 failed with exit code 2\n[^]*run 2 of 2: seed-2 was stopped, and goes on/);
      deepEqual(await codesOf(folder), [["seed-1"], ["seed-2", 75]]);

      held[Symbol.dispose]();
      const again = await runCommand(args, folder);
      equal(again.code, 0, again.stdout + again.stderr);
      deepEqual(await codesOf(folder), [["seed-1", 0], ["seed-2", 75, 0]]);
      match(again.stdout, /seed-1 +done +1 .*\nseed-2 +done +1 /);
      const [one, two] = await Promise.all([1, 2].map(async (seed) => {
        const { modules, metadata } = await readLora(join(folder, `out/runs/seed-${seed}/last.safetensors`));
        return { seed: metadata.get("ss_seed"), first: modules[0].down.values };
      }));
      deepEqual([one.seed, two.seed], ["1", "2"]);
      notDeepEqual(one.first, two.first);

      const done = await runCommand(args, folder);
      match(done.stdout, /^All 2 runs are done\n/);
      deepEqual(await codesOf(folder), [["seed-1", 0], ["seed-2", 75, 0]]);
    }),
});
