import { deepEqual, equal, match } from "node:assert/strict";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { writeSafetensors } from "../../formats/safetensors.ts";
import { type FileRecord, recordFolder, type RunRecord } from "../../pipeline/mod.ts";
import {
  areEqual,
  changedInputs,
  changedMachine,
  changedSources,
  compareRuns,
  comparisonText,
} from "../../steps/rerun/compare_runs.ts";
import { inNewFolder } from "../examples/run_example.ts";

/** What a LoRA file of one tensor says of itself. */
interface Lora {
  readonly values?: readonly number[];
  readonly metadata?: Readonly<Record<string, string>>;
}

async function writeLora(path: string, { values = [1, 2], metadata = {} }: Lora = {}) {
  const shape = [values.length], bytes = new Uint8Array(Float32Array.from(values).buffer);
  const times = { ss_training_started_at: path, sshs_legacy_hash: path.slice(-40, -32) };
  await writeSafetensors(
    path,
    [{ name: "w", type: "F32", shape, bytes }],
    { metadata: new Map(Object.entries({ ...times, ss_seed: "1", ...metadata })) },
  );
}

type Files = Readonly<Record<string, string | Lora>>;

/** A run that has written files, into `run/` those of its steps' products. */
async function madeRun(folder: string, files: Files, record: Partial<RunRecord> = {}): Promise<RunRecord> {
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, "out", name);
    await mkdir(dirname(path), { recursive: true });
    if (typeof content === "string") await writeFile(path, content);
    else await writeLora(path, content);
  }
  await mkdir(join(folder, "out"), { recursive: true });
  const all = await recordFolder(join(folder, "out")), isProduct = ({ path }: FileRecord) => path.startsWith("run/");
  const step = {
    version: "1",
    options: {},
    seeds: {},
    outcome: "ran",
    fingerprint: null,
    needs: {},
    seconds: 1,
  } as const;
  return {
    format: "dualora-run-1",
    recipe: "r",
    exit: { outcome: "finished", code: 0 },
    started: { script: "r.ts", args: [], folders: { output_dir: "out" } },
    workingFolder: folder,
    folder: "out/run",
    starts: [],
    inputs: [],
    steps: [{
      ...step,
      name: "make",
      product: all.filter(isProduct).map((file) => ({ ...file, path: file.path.slice("run/".length) })),
    }],
    outputs: all.filter((file) => !isProduct(file)).map((file) => ({
      ...{ ...file, path: `out/${file.path}` },
      ...{ step: "make", isPassing: file.path.endsWith("-state/a.txt") },
    })),
    ...record,
  };
}

/** What is said of each file, for a first run and its repetition. */
async function verdicts(folder: string, before: Files, after: Files): Promise<Record<string, string>> {
  const runs = [
    await madeRun(join(folder, "first"), before),
    await madeRun(join(folder, "second_longer"), after),
  ] as const;
  const compared = await compareRuns(...runs);
  return Object.fromEntries(compared.map(({ name, verdict, what }) => [name, `${verdict}: ${what}`]));
}

Deno.test("a repetition with the same tensors is bit-equal, whatever times its files have", () =>
  inNewFolder(async (folder) => {
    const files = {
      "a.safetensors": {},
      "run/steps/01-make/product/product.json": "{}",
      "grid.png": "pixels",
    };
    const report = (time: number) =>
      JSON.stringify({
        ...{ created: `${time}`, stages: [{ seconds: time }], loss: 0.5 },
        files: [{ name: "a.safetensors", bytes: 100 + time, sha256: `${time}` }],
      });
    const before = { ...files, "sample/x_20260102030405_e1.png": "p", "report.json": report(1), "report.html": "1" };
    const after = { ...files, "sample/x_20270102030405_e1.png": "p", "report.json": report(2), "report.html": "2" };
    deepEqual(await verdicts(folder, before, after), {
      "a.safetensors": "times: ss_training_started_at, sshs_legacy_hash",
      "grid.png": "equal: ",
      "report.html": "not compared: a page that shows times; its data are compared",
      "report.json": "times: created, stages.0.seconds, files.0.bytes, files.0.sha256",
      "run/steps/01-make/product/product.json": "equal: ",
      "sample/x_<time>_e1.png": "equal: ",
    });
    const compared = await compareRuns(
      await madeRun(join(folder, "first"), before),
      await madeRun(join(folder, "second_longer"), after),
    );
    equal(areEqual(compared), true);
    match(
      comparisonText(compared),
      /^Bit-equal: 3 files\nEqual but for times:\n {2}a\.safetensors: .*\nThe outputs are bit-equal, but for times: 5 files compared; 1 was not compared$/s,
    );
  }));

Deno.test("runs of which no file can be compared are not called bit-equal", () =>
  inNewFolder(async (folder) => {
    const made = (name: string) => madeRun(join(folder, name), { "report.html": name });
    const compared = await compareRuns(await made("first"), await made("second_longer"));
    equal(areEqual(compared), false);
    match(comparisonText(compared), /^Bit-equal: 0 files\nNot compared:\n.*\nNo output could be compared$/);
    equal(areEqual([]), false);
  }));

Deno.test("a repetition that is not bit-equal says in which files, in which tensors and by how much", () =>
  inNewFolder(async (folder) => {
    const found = await verdicts(
      folder,
      {
        "values.safetensors": { values: [1, 2] },
        "shape.safetensors": { values: [1, 2] },
        "metadata.safetensors": { metadata: { ss_steps: "3" } },
        "report.json": '{"loss":0.5,"created":"1"}',
        "text.txt": "one",
        "gone.txt": "gone",
        "at-step1-state/a.txt": "asked for",
      },
      {
        "values.safetensors": { values: [1, 2.25] },
        "shape.safetensors": { values: [1, 2, 3] },
        "metadata.safetensors": { metadata: { ss_steps: "4" } },
        "report.json": '{"loss":0.25,"created":"2"}',
        "text.txt": "two",
        "more.txt": "more",
      },
    );
    deepEqual(found, {
      "at-step1-state/a.txt":
        "not compared: the first run alone has it, saved when somebody asked for it, or before it went on",
      "gone.txt": "missing: the repetition has no such file",
      "metadata.safetensors": "differs: all tensors are bit-equal, its metadata differ: ss_steps",
      "more.txt": "new: the first run has no such file",
      "report.json": "differs: loss",
      "shape.safetensors": "differs: 1 of 1 tensors differ: w",
      "text.txt": "differs: its bytes differ",
      "values.safetensors": "differs: 1 of 1 tensors differ, by 2.5e-1 at most: w",
    });
    const runs = await Promise.all(["a", "b"].map((name) => madeRun(join(folder, name), { "x.txt": name })));
    equal(areEqual(await compareRuns(runs[0], runs[1])), false);
    await rm(join(folder, "a", "out", "x.txt"));
    match((await compareRuns(runs[0], runs[1]))[0].what, /the first run's file is gone/);
  }));

Deno.test("a file outside of the output folders, which the repetition wrote as well, is equal if its bytes are, and else named as not compared", () =>
  inNewFolder(async (folder) => {
    const files = { "a.txt": "a" };
    const made = async (name: string, hashes: Readonly<Record<string, string>>) => {
      const run = await madeRun(join(folder, name), files), [{ step, isPassing }] = run.outputs;
      const elsewhere = Object.entries(hashes).map(([path, sha256]) => ({
        path,
        sha256,
        sizeBytes: 1,
        step,
        isPassing,
      }));
      return { ...run, outputs: [...run.outputs, ...elsewhere] };
    };
    const compared = await compareRuns(
      await made("first", { "/kept/same": "1", "/kept/other": "2", "/kept/gone": "3" }),
      await made("second", { "/kept/same": "1", "/kept/other": "4" }),
    );
    deepEqual(compared.map(({ name, verdict }) => [name, verdict]), [
      ["a.txt", "equal"],
      ["/kept/same", "equal"],
      ["/kept/other", "not compared"],
      ["/kept/gone", "not compared"],
    ]);
    match(
      comparisonText(compared),
      /^Bit-equal: 2 files\nNot compared:\n {2}\/kept\/other: it lies outside .*\n {2}\/kept\/gone: .*\nThe outputs are bit-equal: 2 files compared; 2 were not compared$/,
    );
  }));

Deno.test("what is not as it was is named: inputs that changed or are gone, versions, adapters, other sources", () =>
  inNewFolder(async (folder) => {
    for (const name of ["same", "changed", "gone"]) await writeFile(join(folder, name), "abc");
    // By name, as they are listed.
    const inputs = (await recordFolder(folder)).map((file) => ({
      ...file,
      of: file.path === "gone" ? "start" : "read",
    }));
    const machine = { deno: "2.9.6", adapter: { name: "abacus" } };
    const start = { startedAt: "", finishedAt: "", ran: [], exit: null };
    const before = await madeRun(folder, {}, { inputs, starts: [{ ...start, machine }] });
    await writeFile(join(folder, "changed"), "");
    await rm(join(folder, "gone"));
    deepEqual(await changedInputs(before), [
      "changed, which the step 'read' read, was sha256 ba7816bf8f01…, is sha256 e3b0c44298fc…",
      "gone, which the start read, is gone",
    ]);
    deepEqual(changedMachine(before, { deno: "2.9.7" }), ["deno was 2.9.6, is 2.9.7"]);
    deepEqual(changedMachine(before, machine), []);
    const two = {
      ...before,
      starts: [...before.starts, { ...start, machine: { ...machine, adapter: { name: "slide rule" } } }],
    };
    deepEqual(changedMachine(two, machine), [
      'adapter was not the same in all starts of the first run: {"name":"abacus"}; {"name":"slide rule"}',
    ]);
    const other = { ...before, steps: before.steps.map((step) => ({ ...step, fingerprint: "revision 2" })) };
    deepEqual(changedSources(before, other), ["the step 'make' read something else from outside"]);
  }));
