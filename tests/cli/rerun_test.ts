import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runCommandLine } from "../../cli/main.ts";
import * as d from "../../mod.ts";
import { inNewFolder, runCommand } from "../examples/run_example.ts";
import { copyPictures } from "../steps/small_training.ts";

/** A run that is quick: it shows the data that would be trained on, and trains nothing. */
const showing = ["train", "--train_data_dir=people", "--resolution=64", "--debug_dataset", "--output_dir=out"];
const record = join("out", "last_dataset_run", "run.json");

async function firstRun(folder: string): Promise<void> {
  await copyPictures(d.toy.character, join(folder, "people"), 2);
  await writeFile(join(folder, "settings.toml"), "seed = 3\n");
  const { code, stderr } = await runCommand([...showing, "--config_file=settings"], folder);
  equal(code, 0, stderr);
}

Deno.test("rerun repeats a command line into a new folder, and leaves with 4 where an output is another", () =>
  inNewFolder(async (folder) => {
    await firstRun(folder);
    const made = (await readdir(join(folder, "out"))).filter((name) => name !== "last_dataset_run").sort();
    const { inputs, started, exit } = await d.readRunRecord(join(folder, record));
    deepEqual(started?.args.slice(1), [...showing.slice(1), "--config_file=settings"]);
    equal(exit?.code, 0);
    deepEqual(inputs.map(({ path }) => path.split("/").at(-1)), [
      "settings.toml",
      "000.png",
      "000.txt",
      "001.png",
      "001.txt",
    ]);

    const picture = made.find((name) => name.endsWith(".png"))!, path = join(folder, "out", picture);
    const text = await readFile(join(folder, record), "utf8");
    const { sha256 } = JSON.parse(text).outputs.find((file: { path: string }) => file.path.endsWith(picture));
    // As if another machine had made another picture.
    await writeFile(path, "other pixels");
    await writeFile(join(folder, record), text.replaceAll(sha256, await d.hashFile(path)));
    const differing = await runCommand(["rerun", record, "--output_dir=again"], folder);
    equal(differing.code, 4, differing.stdout + differing.stderr);
    match(
      differing.stdout,
      new RegExp(
        `\nDifferent:\n  ${picture}: its bytes differ\nThe outputs are not bit-equal: 1 file compared; 1 was not compared\n$`,
      ),
    );
    deepEqual((await readdir(join(folder, "again"))).filter((name) => name !== "last_dataset_run").sort(), made);
  }));

Deno.test("rerun refuses and names what keeps it from repeating: inputs that changed, the same folder, no record", () =>
  inNewFolder(async (folder) => {
    await firstRun(folder);
    const path = join(folder, record), output = `--output_dir=${join(folder, "again")}`;
    const refused = (args: readonly string[], message: RegExp | string) =>
      rejects(runCommandLine(["rerun", ...args]), { name: "UsageError", message });
    await refused(
      [path, `--output_dir=${join(folder, "out")}`],
      /out is where the run itself has written; name another/,
    );
    const nowhere = join(folder, "nowhere.json");
    await refused([nowhere], `Cannot read ${nowhere}: there is no such file`);
    await writeFile(join(folder, "settings.toml"), "seed = 4\n");
    await refused(
      [path, output],
      /: inputs are not what they were\n {2}settings\.toml, which the start read, was sha256 .*…, is sha256 .*…\nPut them back, or repeat it with --anyway$/,
    );
    const text = await readFile(path, "utf8");
    const cases: [object, RegExp][] = [
      [{ exit: null }, /: the run is at work, or was killed; let it end first$/],
      [{ exit: { outcome: "stopped", code: 75, message: "m" } }, /: the run is stopped \(m\); let it end first$/],
      [
        { started: null },
        /: the run of ".*" does not say how it was started: a notebook ran it, .*deno task notebooks/,
      ],
      [
        { started: { script: "mine.ts", args: [], folders: {} } },
        /: mine\.ts writes into folders of its own; with folder = d\.outputFolder\("…"\) /,
      ],
    ];
    for (const [change, message] of cases) {
      await writeFile(path, JSON.stringify({ ...JSON.parse(text), ...change }));
      await refused([path, output], message);
    }
    deepEqual((await readdir(folder)).sort(), ["out", "people", "settings.toml"]);
  }));

Deno.test("rerun says of a cell of a comparison by which command it is made again", () =>
  inNewFolder(async (folder) => {
    const cell = join(folder, "out/compare/cells/two-hooks-1/seed-3"), base = join(folder, "out/compare/base");
    for (const [where, recipe] of [[cell, "compare two hooks 1"], [base, "compare base"]]) {
      await mkdir(where, { recursive: true });
      await writeFile(
        join(where, "run.json"),
        JSON.stringify({
          ...{ format: "dualora-run-1", recipe, started: null, exit: { outcome: "finished", code: null } },
          ...{ workingFolder: folder, folder: where, starts: [], inputs: [], outputs: [], steps: [] },
        }),
      );
    }
    const { code, stderr } = await runCommand(["rerun", join(cell, "run.json")], folder);
    equal(code, 2);
    match(
      stderr,
      /: it is a cell of a comparison, .*:\n\n {2}deno task compare --variants 'two hooks 1' --seeds 3 --output_dir out\/compare_rerun\n\n/,
    );
    await rejects(
      runCommandLine(["rerun", base]),
      /share; ask for one of them: cells\/<variant>\/seed-<seed>\/run\.json$/,
    );
  }));
