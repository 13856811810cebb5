import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Attempt, runState } from "../../cli/sweep/attempts.ts";
import { checkRuns } from "../../cli/sweep/check_runs.ts";
import { expandSweep, isRunName } from "../../cli/sweep/expand_sweep.ts";
import { gatherSweep } from "../../cli/sweep/gather.ts";
import { sbatchScript } from "../../cli/sweep/sbatch_script.ts";
import { readSweepFile } from "../../cli/sweep/sweep_file.ts";
import { readSweepFolder, settingsText, writeSweepFolder } from "../../cli/sweep/sweep_folder.ts";
import { csvText, markdownText, terminalTable } from "../../cli/sweep/sweep_tables.ts";
import * as d from "../../mod.ts";
import { inNewFolder } from "../examples/run_example.ts";

/** Writes a sweep, reads it and expands it. */
async function expanded(folder: string, text: string) {
  const path = join(folder, "sweep.toml");
  await writeFile(path, text);
  const sweep = await readSweepFile(path);
  return { sweep, runs: expandSweep(sweep), path };
}

/** What a sweep is refused with, its path left out. */
async function refusal(folder: string, text: string): Promise<string> {
  const { message } = await expanded(folder, text).then(() => new Error("it was not refused"), (error) => error);
  return message.replaceAll(join(folder, "sweep.toml"), "sweep.toml");
}

Deno.test("a sweep is the grid, its first flag slowest, with every seed; then each [[run]], with every seed or its own", () =>
  inNewFolder(async (folder) => {
    const { runs } = await expanded(
      folder,
      `output_dir = "out"
seeds = "1-2"
[settings]
network_alpha = 2
[grid]
network_dim = [4, 8]
learning_rate = [1e-4, "1e-3"]
[[run]]
name = "plain"
orth_te_coefficient = 0
network_alpha = 1
[[run]]
name = "other"
seed = 7
`,
    );
    // By hand: 2 ranks × 2 rates × 2 seeds, 1 × 2 seeds, 1.
    deepEqual(runs.map(({ name }) => name), [
      "network_dim-4_learning_rate-0.0001_seed-1",
      "network_dim-4_learning_rate-0.0001_seed-2",
      "network_dim-4_learning_rate-0.001_seed-1",
      "network_dim-4_learning_rate-0.001_seed-2",
      "network_dim-8_learning_rate-0.0001_seed-1",
      "network_dim-8_learning_rate-0.0001_seed-2",
      "network_dim-8_learning_rate-0.001_seed-1",
      "network_dim-8_learning_rate-0.001_seed-2",
      "plain_seed-1",
      "plain_seed-2",
      "other",
    ]);
    const valuesOf = (at: number) => Object.fromEntries([...runs[at].values].map(([flag, { value }]) => [flag, value]));
    deepEqual(valuesOf(6), { network_alpha: 2, network_dim: 8, learning_rate: 0.001, seed: 1 });
    deepEqual(valuesOf(9), { network_alpha: 1, orth_te_coefficient: 0, seed: 2 });
    deepEqual(valuesOf(10), { network_alpha: 2, seed: 7 });
    deepEqual(runs[6].own, { network_dim: 8, learning_rate: 0.001, seed: 1 });
  }));

Deno.test("a sweep starts from a settings file; what it says itself comes first, and folders of that file do not count", () =>
  inNewFolder(async (folder) => {
    const base = join(folder, "base.toml");
    await writeFile(base, '[a]\nnetwork_dim = 4\nseed = 3\noutput_dir = "elsewhere"\n');
    const { sweep, runs } = await expanded(
      folder,
      `output_dir = "out"\nconfig_file = ${
        JSON.stringify(base)
      }\n[settings]\nseed = 4\n[grid]\nnetwork_args = [["conv_dim=4"], []]\n`,
    );
    deepEqual(runs.map(({ name }) => name), ["network_args-conv_dim-4", "network_args-empty"]);
    deepEqual(sweep.notes, [
      `output_dir of ${base} is not used: each run has a folder of its own in the sweep's`,
    ]);
    // What train reads.
    equal(
      settingsText("out", runs[0]),
      [
        "network_dim = 4",
        "seed = 4",
        'network_args = [ "conv_dim=4" ]',
        'output_dir = "out/runs/network_args-conv_dim-4"',
        'logging_dir = "out/runs/network_args-conv_dim-4/logs"\n',
      ].join("\n"),
    );
  }));

Deno.test("what is wrong with a sweep is told with file and line", () =>
  inNewFolder(async (folder) => {
    const start = 'output_dir = "out"\n', grid = `${start}[grid]\n`;
    const cases: [string, string][] = [
      [start, "sweep.toml, line 1: nothing to sweep; give [grid], seeds or [[run]]"],
      ["seeds = [1]\n", "sweep.toml, line 1: output_dir is missing: the folder that the sweep's runs are written to"],
      [`${start}sedes = [1]\n`, "sweep.toml, line 2: unknown key sedes; did you mean seeds?"],
      [
        `${start}network_dim = 4\n`,
        "sweep.toml, line 2: unknown key network_dim; flags for all runs stand in [settings]",
      ],
      [
        `${grid}\nnetwork_dm = [4]\n`,
        "sweep.toml, line 4: unknown key network_dm; did you mean network_dim?",
      ],
      [`${grid}network_dim = 4\n`, "sweep.toml, line 3: network_dim is 4, must be a list of the values to try"],
      [`${grid}network_dim = [4, 4.5]\n`, "sweep.toml, line 3: network_dim is 4.5, must be a whole number"],
      [
        `${grid}network_dim = [4, 4]\n`,
        "sweep.toml, line 3: two runs are named network_dim-4; the other is at sweep.toml, line 3",
      ],
      [
        `${start}[settings]\noutput_dir = "a"\n[grid]\nseed = [1]\n`,
        "sweep.toml, line 3: output_dir cannot be chosen here: each run has a folder of its own in the sweep's",
      ],
      [`${grid}describe = [true]\n`, "sweep.toml, line 3: describe is for the command line, not for a settings file"],
      [
        `${start}seeds = [1]\n[grid]\nseed = [1]\n`,
        "sweep.toml, line 4: seed is in [grid], and seeds are given: leave one of them out",
      ],
      [
        `${start}seeds = "5-1"\n`,
        'sweep.toml, line 2: seeds is "5-1", must be a list such as 1,2,5 or a range such as 1-5',
      ],
      [`${start}[[run]]\nseed = 1\n`, "sweep.toml, line 2: a [[run]] needs a name, a text"],
      [
        `${start}[[run]]\nname = "../a"\n`,
        'sweep.toml, line 2: the run\'s name "../a" must be of letters, digits, _, - and ., and begin with a letter or digit; a [[run]] can be given a name of its own',
      ],
      [
        `${start}[[run]]\nname = "a"\nseed = 1\n[[run]]\nname = "b"\nseed = 1\n`,
        "sweep.toml, line 5: the runs a and b have the same settings: take one of them out",
      ],
      [
        `${start}[[run]]\nname = "a"\n[[run]]\nname = "A"\nseed = 1\n`,
        "sweep.toml, line 4: two runs are named A; the other is at sweep.toml, line 2",
      ],
      [
        `${start}[settings]\nhalf_annel_epoch = 1\nhalf_anneal_epoch = 2\n`,
        "sweep.toml, line 4: half_annel_epoch is there already: leave one of them out",
      ],
      [`${start}seeds = [1]\n[slurm]\narray = "0-9"\n`, "sweep.toml, line 4: the batch script gives --array itself"],
      [`${start}seeds = [1]\n[slurm]\nlimit = 0\n`, "sweep.toml, line 4: limit is 0, must be a whole number above 0"],
      [
        `${start}seeds = [1]\n[slurm]\npartition = "a\\nb"\n`,
        'sweep.toml, line 4: partition is "a\\nb", must be a number, true, or a text on one line without quotes and \\',
      ],
    ];
    for (const [text, message] of cases) equal(await refusal(folder, text), message);
    await rejects(
      readSweepFile(join(folder, "none.toml")),
      /Cannot read a sweep from .*none\.toml: there is no such file/,
    );
  }));

Deno.test("a run's name leads nowhere but into its own folder", () => {
  for (const name of ["a", "network_dim-4_seed-1", "größe-2.5"]) ok(isRunName(name), name);
  for (const name of ["", ".", "..", "../a", "a/b", "a\\b", ".a", "-a", "a.", "con", "a\0", "a b", "x".repeat(129)]) {
    ok(!isRunName(name), name);
  }
});

Deno.test("all runs are planned before any starts: what is wrong is told with the line that says so and the run", () =>
  inNewFolder(async (folder) => {
    const settings = [
      'output_dir = "out"',
      "[settings]",
      'pretrained_model_name_or_path = "toy"',
      `train_data_dir = ${JSON.stringify(d.toy.character)}`,
      'caption_extension = ".txt"',
      "resolution = 64",
      "[grid]",
    ].join("\n");
    const { runs, path } = await expanded(folder, `${settings}\nnetwork_dim = [0, 4]\nlearning_rate = [0, 1e-4]\n`);
    const found = await checkRuns("out", runs).then(() => "nothing is refused", ({ message }) => message);
    deepEqual(found.replaceAll(path, "sweep.toml").split("\n"), [
      "sweep.toml, line 9: --learning_rate: Cannot train: learningRate is 0, must be a number above 0 (run network_dim-0_learning_rate-0 and 1 more)",
      "sweep.toml, line 8: --network_dim: Cannot make a network: rank is 0, must be a whole number above 0 (run network_dim-0_learning_rate-0.0001)",
    ]);
    // What decides nothing is told.
    const idle = await expanded(folder, `${settings}\north_te_coefficient = [1, 2]\n`);
    deepEqual(await checkRuns("out", idle.runs), [
      "--orth_te_coefficient decides nothing in this run: one network is trained alone, as there are no data for network 2 (1 of 2 runs)",
    ]);
  }));

Deno.test("the sweep in docs/sweeps.md is one: 2 × 2 settings and a single one, with 3 seeds each", () =>
  inNewFolder(async (folder) => {
    const page = await readFile(join(import.meta.dirname!, "../../docs/sweeps.md"), "utf8");
    const text = /```toml\n([^]*?)```/.exec(page)![1].replaceAll("assets/toy/demo", dirname(d.toy.character));
    const { sweep, runs } = await expanded(folder, text);
    equal(runs.length, 15);
    ok(page.includes(`\`${runs[0].name}\``), runs[0].name);
    deepEqual([...sweep.slurm.options.keys()], ["partition", "time", "gres"]);
    deepEqual(await checkRuns(sweep.folder, [runs[0], runs[14]]), []);
  }));

Deno.test("a run that was made with other settings is not mixed with new ones", () =>
  inNewFolder(async (folder) => {
    const out = join(folder, "out");
    const first = await expanded(
      folder,
      'output_dir = "out"\n[settings]\nnetwork_alpha = 1\n[grid]\nnetwork_dim = [4]\n',
    );
    await writeSweepFolder(out, first.runs);
    await writeSweepFolder(out, first.runs);
    deepEqual(await readSweepFolder(out), [{ name: "network_dim-4", own: { network_dim: 4 } }]);
    const other = await expanded(
      folder,
      'output_dir = "out"\n[settings]\nnetwork_alpha = 2\n[grid]\nnetwork_dim = [4]\n',
    );
    await rejects(
      writeSweepFolder(out, other.runs),
      /settings\.toml: the run was made with other settings; take another output_dir, or delete the run's folder$/,
    );
  }));

Deno.test("the batch script is an array of the runs, with what [slurm] asks for, and queues a run again that left with 75", () =>
  inNewFolder(async (folder) => {
    const { sweep, runs } = await expanded(
      folder,
      'output_dir = "out/a b"\nseeds = [1, 2, 3]\n[slurm]\nlimit = 2\npartition = "gpu"\ncpus_per_task = 4\nexclusive = true\nsetup = ["module load mesa"]\n',
    );
    const names = runs.map(({ name }) => name), working = "/home/some one";
    const script = sbatchScript(sweep.slurm, {
      file: "b/sweep.toml",
      folder: "out/a b",
      names,
      workingFolder: working,
    });
    const [head, body] = script.split("\n\nruns=(");
    deepEqual(head.split("\n"), [
      "#!/bin/bash",
      "# 3 runs of sweep.toml: sbatch 'out/a b/sweep.sbatch'",
      "#SBATCH --job-name=sweep",
      "#SBATCH --array=0-2%2",
      "#SBATCH --signal=B:USR2@120",
      "#SBATCH --requeue",
      "#SBATCH --open-mode=append",
      '#SBATCH --output="/home/some one/out/a b/slurm/%A_%a.txt"',
      '#SBATCH --chdir="/home/some one"',
      "#SBATCH --partition=gpu",
      "#SBATCH --cpus-per-task=4",
      "#SBATCH --exclusive",
    ]);
    ok(body.startsWith("\n  'seed-1'\n  'seed-2'\n  'seed-3'\n)\n"), body);
    // A signal that comes while the setup is at work has to find somebody who listens.
    const [usr2, term, setup] = ["\ntrap 'tell_run USR2' USR2\n", " TERM\n", "\nmodule load mesa\n"].map((text) =>
      body.indexOf(text)
    );
    ok(0 < usr2 && usr2 < term && term < setup, body);
    match(body, /tools\/launch\.ts \S+cli\/main\.ts sweep run 'out\/a b' "\$\{runs\[\$SLURM_ARRAY_TASK_ID\]\}" &\n/);
    match(
      body,
      /if \[ "\$code" = 75 \] && \[ -z "\$is_taken_off" \] && \[ "\$\{SLURM_RESTART_COUNT:-0\}" -lt 100 \]; then\n {2}scontrol requeue "\$\{SLURM_ARRAY_JOB_ID\}_\$\{SLURM_ARRAY_TASK_ID\}"\n/,
    );
  }));

const attempt = (code?: number, seconds = 2): Attempt => ({
  started: "2026-01-02T03:04:05.000Z",
  host: "a",
  ...(code === undefined ? {} : { code, ended: `2026-01-02T03:04:0${5 + seconds}.000Z` }),
});

Deno.test("how a run stands follows from its last start, and from whether its lock is held", () => {
  const cases: [Attempt[], boolean, string][] = [
    [[], false, "not begun"],
    [[attempt()], true, "running"],
    [[attempt()], false, "killed"],
    [[attempt(137)], false, "killed"],
    [[attempt(75)], false, "stopped"],
    [[attempt(75), attempt(0)], false, "done"],
    [[attempt(3)], false, "diverged"],
    [[attempt(2)], false, "failed"],
    [[attempt(1)], false, "failed"],
  ];
  for (const [attempts, isAtWork, state] of cases) equal(runState(attempts, isAtWork), state);
});

/** A sweep of two ranks and two seeds: three runs have logs, and one was stopped. */
async function finishedSweep(folder: string): Promise<void> {
  const { runs } = await expanded(folder, 'output_dir = "out"\nseeds = [1, 2]\n[grid]\nnetwork_dim = [4, 8]\n');
  await writeSweepFolder(folder, runs);
  const write = async (name: string, code: number, logs: Record<string, string>) => {
    await writeFile(join(folder, "runs", name, "attempts.json"), JSON.stringify([attempt(code)]));
    for (const [start, text] of Object.entries(logs)) {
      const log = join(folder, "runs", name, "logs", start);
      await mkdir(log, { recursive: true });
      await writeFile(join(log, "figures.jsonl"), text);
    }
  };
  const line = (step: number, values: object) => `${JSON.stringify({ step, epoch: 1, ...values })}\n`;
  // Network 1 in a training of its own before; two starts in one second; a line that a kill cut off.
  await write("network_dim-4_seed-1", 0, {
    "20260101000000": line(1, { loss_1: 0.5 }) + line(2, { loss_1: 0.25, validation_1: 0.75 }),
    "20260101000001": line(1, { loss_2: 9 }),
    "20260101000001_2": Array.from({ length: 12 }, (_, i) => line(i + 1, { loss_2: i, orth_te: 1 })).join("") +
      '{"step":1',
  });
  await write("network_dim-4_seed-2", 0, { "20260101000000": line(3, { loss_2: 8.5, orth_te: 3 }) });
  await write("network_dim-8_seed-1", 75, { "20260101000000": line(5, { loss_2: 1, orth_te: 0 }) });
}

Deno.test("gathering reads final losses and terms of every run from its last logs, states and times from its starts", () =>
  inNewFolder(async (folder) => {
    await finishedSweep(folder);
    const rows = await gatherSweep(folder);
    deepEqual(rows[0], {
      name: "network_dim-4_seed-1",
      state: "done",
      code: 0,
      own: { network_dim: 4, seed: 1 },
      steps: 12,
      // Steps 3 to 12 have the losses 2 to 11.
      figures: { loss_1: 0.375, validation_1: 0.75, loss_2: 6.5, orth_te: 1 },
      seconds: 2,
      starts: 1,
      started: "2026-01-02T03:04:05.000Z",
      ended: "2026-01-02T03:04:07.000Z",
    });
    deepEqual(rows.map(({ state }) => state), ["done", "done", "stopped", "not begun"]);
    deepEqual(csvText(rows).split("\r\n"), [
      "run,state,exit_code,network_dim,seed,loss_1,validation_1,loss_2,orth_te,steps,seconds,starts,started,ended",
      "network_dim-4_seed-1,done,0,4,1,0.375,0.75,6.5,1,12,2,1,2026-01-02T03:04:05.000Z,2026-01-02T03:04:07.000Z",
      "network_dim-4_seed-2,done,0,4,2,,,8.5,3,3,2,1,2026-01-02T03:04:05.000Z,2026-01-02T03:04:07.000Z",
      "network_dim-8_seed-1,stopped,75,8,1,,,1,0,5,2,1,2026-01-02T03:04:05.000Z,2026-01-02T03:04:07.000Z",
      "network_dim-8_seed-2,not begun,,8,2,,,,,,0,0,,",
      "",
    ]);
    deepEqual(markdownText(rows).split("\n"), [
      "| run | state | steps | loss_1 | validation_1 | loss_2 | orth_te | time | starts |",
      "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
      "| network_dim-4_seed-1 | done | 12 | 0.3750 | 0.7500 | 6.500 | 1.000 | 2.0 s | 1 |",
      "| network_dim-4_seed-2 | done | 3 |  |  | 8.500 | 3.000 | 2.0 s | 1 |",
      "| network_dim-8_seed-1 | stopped | 5 |  |  | 1.000 | 0 | 2.0 s | 1 |",
      "| network_dim-8_seed-2 | not begun |  |  |  |  |  |  | 0 |",
      "",
      "| network_dim | seeds | loss_1, mean | validation_1, mean | loss_2, mean | orth_te, mean |",
      "| --- | --- | --- | --- | --- | --- |",
      "| 4 | 2 | 0.3750 | 0.7500 | 7.500 | 2.000 |",
    ]);
    equal(terminalTable(rows).split("\n")[4], "network_dim-8_seed-2  not begun" + " ".repeat(55) + "0");
  }));

Deno.test("a cell of the table in CSV is quoted where it has to be", () => {
  const row = {
    ...{ name: "a", state: "failed", code: 2, steps: null, figures: {}, seconds: 0, starts: 1, started: null } as const,
    ...{ ended: null, own: { network_args: ['conv_dim=4, "x"', "b"] } },
  };
  equal(csvText([row]).split("\r\n")[1], 'a,failed,2,"conv_dim=4, ""x"" b",,0,1,,');
});
