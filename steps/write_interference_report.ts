import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import project from "../deno.json" with { type: "json" };
import { writeFileAtomically } from "../formats/atomic_file.ts";
import { readLoraShapes } from "../formats/lora_file.ts";
import { defineStep, hashFile, hashJson, type Thing } from "../pipeline/mod.ts";
import { measuredFiles, measurementText, weightInterference } from "./lora_tools/measure.ts";
import { drawGrid } from "./report/grid.ts";
import { interferenceHtml } from "./report/interference_html.ts";
import { crosstalkOnData, type InterferenceReport, onBaseText } from "./report/interference_report.ts";
import { machineOf } from "./report/machine.ts";
import type { Json } from "./report/report.ts";
import { networkCurves, readRunLogs } from "./report/run_logs.ts";
import { bases, interference, network1, network2 } from "./things.ts";
import type { LoadedBases } from "./values/bases.ts";
import { contentOf } from "./values/checkpoint_content.ts";
import { checkOptions, type OptionNames } from "./values/check_options.ts";
import type { Interference } from "./values/interference.ts";
import type { Network } from "./values/network.ts";
import type { Retention } from "./values/retention.ts";
import { columnOf, type PlannedSampleSheet, type SampleColumn, type SampleSheet } from "./values/sample_sheet.ts";

/** What a report can show beside the figures, where a recipe has it: `samples` and `retention`, under these names. */
export type ShownThings = { readonly [name: string]: Thing<SampleSheet, PlannedSampleSheet> | Thing<Retention> };

/** Options of `writeInterferenceReport`. */
export interface WriteInterferenceReportOptions<Shown extends ShownThings> {
  /** Receives `interference.json`, `interference.html`, and `samples.png` where there are samples. */
  readonly folder: string;
  /** The LoRA files that the networks came from, or were saved as. */
  readonly files: readonly [string, string];
  /** The base's name, for readers. */
  readonly base: string;
  /** Of what the recipe has: `{ samples: things.samples, retention: things.retention }`. */
  readonly shown: Shown;
  /** Columns of the samples that the picture grid has; all of them when left out. */
  readonly columns?: readonly string[];
  /** Folder of another run, or of its logs, whose curves are shown beside those of the recipe's own trainings. */
  readonly logs?: string;
  /** Shown as they are. */
  readonly settings?: { readonly [name: string]: Json };
}

const optionNames: OptionNames<WriteInterferenceReportOptions<ShownThings>> = {
  folder: true,
  files: true,
  base: true,
  shown: true,
  columns: true,
  logs: true,
  settings: true,
};

/** Writes what was measured of two networks: as data, and as a page that needs nothing else. */
export function writeInterferenceReport<const Shown extends ShownThings>(
  options: WriteInterferenceReportOptions<Shown>,
) {
  const name = "write interference report";
  checkOptions<WriteInterferenceReportOptions<ShownThings>>(name, options, optionNames);
  const { shown, ...rest } = options, { folder, files, base, logs, columns, settings = {} } = rest;
  const unknown = Object.keys(shown).find((each) => each !== "samples" && each !== "retention");
  if (unknown !== undefined) {
    throw new TypeError(`Cannot write an interference report: shown has ${unknown}, can have samples and retention`);
  }
  const needs = { bases, network1, network2, interference, ...shown };
  return defineStep({
    name,
    version: 1,
    options: rest,
    needs,
    fingerprint: () => Promise.all(files.map((file) => hashFile(file))),
    plan: () => {
      const names = [...shown.samples ? ["samples.png"] : [], "interference.json", "interference.html"];
      return { lines: names.map((name) => join(folder, name)) };
    },
    run: async (values, run) => {
      const given = values as unknown as {
        readonly bases: LoadedBases;
        readonly network1: Network;
        readonly network2: Network;
        readonly interference: Interference;
        readonly samples?: SampleSheet;
        readonly retention?: Retention;
      };
      const { modules, responses, hooks, additivity, probes } = given.interference;
      const sampled = given.samples?.columns ?? [], names = given.samples && columns;
      const sheet = names ? names.map((name) => columnOf(sampled, name, "Cannot report")) : sampled;
      const report: InterferenceReport = {
        dualora: project.version,
        files: await measuredFiles(files, [await namesIn(files[0]), await namesIn(files[1])]),
        ...weightInterference(modules),
        onBase: {
          ...{ base, baseHash: hashJson(await contentOf(given.bases.network1.checkpoint)) },
          ...{ settings, stages: run.earlier, probes, additivity, hooks },
          pictures: sheet.map(({ name, prompt }) => ({ name, prompt })),
          ...machineOf(given.bases.device),
          crosstalk: crosstalkOnData(responses),
          retention: given.retention?.columns ?? [],
        },
        training: [
          ...networkCurves([given.network1, given.network2]),
          ...logs === undefined ? [] : await readRunLogs(logs),
        ],
      };
      await mkdir(folder, { recursive: true });
      const png = sheet.length > 0 ? await drawSamples(sheet) : undefined, text = new TextEncoder();
      const made = [
        ...png ? [["samples.png", png] as const] : [],
        ["interference.json", text.encode(JSON.stringify(report, null, 2) + "\n")] as const,
        ["interference.html", text.encode(await interferenceHtml(report, png))] as const,
      ];
      for (const [name, bytes] of made) {
        await writeFileAtomically(join(folder, name), [Uint8Array.from(bytes)]);
        run.artifact(join(folder, name));
      }
      const message = `\n${measurementText(report)}\n\n${onBaseText(report.onBase!)}\n\nReport: ${
        join(folder, "interference.html")
      }`;
      run.progress({ done: 1, total: 1, unit: "reports", message });
    },
  });
}

/** Names of a LoRA file's modules. */
async function namesIn(file: string): Promise<string[]> {
  return [...(await readLoraShapes(file)).keys()];
}

/** What stands for `{row}` in each row's prompts; empty where no prompt has it. */
export function rowTexts(columns: readonly Pick<SampleColumn, "prompt" | "pictures">[]): string[] {
  const { prompt, pictures } = columns.find(({ prompt }) => prompt.includes("{row}")) ?? columns[0];
  const around = prompt.split("{row}"), length = around.join("").length;
  return pictures.map((picture) => {
    if (around.length === 1) return "";
    const size = (picture.prompt.length - length) / (around.length - 1);
    return picture.prompt.slice(around[0].length, around[0].length + size);
  });
}

/** Pixels that a picture's side has at least in the grid. */
const leastSide = 128;

function drawSamples(columns: readonly SampleColumn[]): Promise<Uint8Array> {
  const [{ pictures }] = columns;
  return drawGrid({
    columns: columns.map(({ name }) => ({ label: name })),
    rows: rowTexts(columns).map((text, row) => ({
      ...text === ""
        ? { label: `seed ${pictures[row].seed}` }
        : { label: text, sublabel: `seed ${pictures[row].seed}` },
    })),
    cells: pictures.map((_, row) => columns.map((column) => column.pictures[row])),
    scale: Math.ceil(leastSide / pictures[0].width),
  });
}
