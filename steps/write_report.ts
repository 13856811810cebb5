import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder } from "../formats/write_errors.ts";
import project from "../deno.json" with { type: "json" };
import { writeFileAtomically } from "../formats/atomic_file.ts";
import { defineStep, hashFile } from "../pipeline/mod.ts";
import { compareModules } from "./lora_tools/measure.ts";
import { networkModules } from "./outputs/lora_files.ts";
import { machineOf } from "./report/machine.ts";
import { drawGrid } from "./report/grid.ts";
import { type ColumnKind, figureText, type Json, type Report, reportText } from "./report/report.ts";
import { reportHtml } from "./report/report_html.ts";
import type { NetworkThings } from "./sample.ts";
import { bases, retention, samples } from "./things.ts";
import { checkOptions, type OptionNames } from "./values/check_options.ts";
import type { LoadedBases } from "./values/bases.ts";
import type { Network } from "./values/network.ts";
import type { Retention } from "./values/retention.ts";
import { columnOf, type SampleSheet } from "./values/sample_sheet.ts";

/** Options of `writeReport`. */
export interface WriteReportOptions<Networks extends NetworkThings> {
  /** Receives `samples.png`, `report.json` and `report.html`. */
  readonly folder: string;
  readonly title: string;
  /** Columns of the samples to show, by what they were made with; the sheet shows them in the order of `columnOrder`. */
  readonly columns: { readonly [Kind in ColumnKind]?: string };
  readonly networks: Networks;
  /** Whose training is drawn, and which network of the method each is. */
  readonly training: { readonly [Name in keyof Networks]?: 1 | 2 };
  readonly seed: number;
  /** Shown as they are. */
  readonly settings?: { readonly [name: string]: Json };
  readonly notes?: readonly string[];
  /** Files in the folder that the report lists with their hashes. */
  readonly files?: readonly string[];
  /** How the run was started. */
  readonly command?: string;
}

const optionNames: OptionNames<WriteReportOptions<NetworkThings>> = {
  folder: true,
  title: true,
  columns: true,
  networks: true,
  training: true,
  seed: true,
  settings: true,
  notes: true,
  files: true,
  command: true,
};

/** The order of columns, from the base to the stacks. */
const columnOrder: readonly ColumnKind[] = [
  "base",
  "character",
  "outfit",
  "outfit-without-orthogonality",
  "stack-without-orthogonality",
  "stack",
];

/** Draws the picture grid and writes the report: as data, and as a page that needs nothing else. */
export function writeReport<const Networks extends NetworkThings>(options: WriteReportOptions<Networks>) {
  checkOptions<WriteReportOptions<NetworkThings>>("write report", options, optionNames);
  const { networks, ...rest } = options;
  const needs = { bases, samples, retention, ...networks };
  return defineStep({
    name: "write report",
    version: 2,
    options: rest,
    needs,
    // Asked when the earlier steps are done: a file that was saved anew makes a new report.
    fingerprint: () => Promise.all((options.files ?? []).map((file) => hashFile(join(options.folder, file)))),
    plan: () => ({ lines: ["samples.png", "report.json", "report.html"].map((name) => join(options.folder, name)) }),
    run: async (values, run) => {
      const named = values as unknown as Readonly<Record<string, Network>> & {
        readonly bases: LoadedBases;
        readonly samples: SampleSheet;
        readonly retention: Retention;
      };
      const { folder } = options;
      await makeFolder(folder);
      const png = await drawSheet(
        options as unknown as WriteReportOptions<NetworkThings>,
        named.samples,
        named.retention,
      );
      const report = await makeReport(options as unknown as WriteReportOptions<NetworkThings>, named, run.earlier);
      const html = await reportHtml(report, png);
      const text = new TextEncoder();
      for (
        const [name, bytes] of [
          ["samples.png", png],
          ["report.json", text.encode(JSON.stringify(report, null, 2) + "\n")],
          ["report.html", text.encode(html)],
        ] as const
      ) {
        await writeFileAtomically(join(folder, name), [Uint8Array.from(bytes)]);
        run.artifact(join(folder, name));
      }
      run.progress({ done: 1, total: 1, unit: "reports", message: `\n${reportText(report)}` });
    },
  });
}

async function drawSheet(
  { title, columns, notes }: WriteReportOptions<NetworkThings>,
  sheet: SampleSheet,
  retention: Retention,
): Promise<Uint8Array> {
  const names = columnOrder.flatMap((kind) => columns[kind] ?? []),
    shown = names.map((name) => columnOf(sheet.columns, name, "Cannot report"));
  const measured = names.map((name) => retention.columns.find((column) => column.name === name));
  const figure = (value: number | null | undefined) => figureText(value ?? null);
  return await drawGrid({
    title,
    columns: names.map((name) => ({ label: name })),
    rows: shown[0].pictures.map(({ prompt, seed }) => ({
      label: prompt.slice(prompt.lastIndexOf(",") + 1).trim(),
      sublabel: `seed ${seed}`,
    })),
    cells: shown[0].pictures.map((_, row) => shown.map((column) => column.pictures[row])),
    figures: [
      { label: "identity kept", values: measured.map((column) => figure(column?.identityKept)) },
      { label: "outfit taken", values: measured.map((column) => figure(column?.outfitTaken)) },
    ],
    ...(notes ? { footer: notes } : {}),
  });
}

function runName(network: 1 | 2, orthogonality: boolean, isCoupled: boolean): string {
  return `network ${network}, ${
    orthogonality ? "with orthogonality" : isCoupled ? "orthogonality measured" : "by itself"
  }`;
}

async function makeReport(
  options: WriteReportOptions<NetworkThings>,
  values: Readonly<Record<string, Network>> & { readonly bases: LoadedBases; readonly retention: Retention },
  stages: Report["stages"],
): Promise<Report> {
  const files: Report["files"][number][] = [];
  for (const name of options.files ?? []) {
    const path = join(options.folder, name), { size } = await stat(path);
    files.push({ name, bytes: size, sha256: createHash("sha256").update(await readFile(path)).digest("hex") });
  }
  return {
    version: 1,
    dualora: project.version,
    created: new Date().toISOString(),
    command: options.command ?? "",
    seed: options.seed,
    settings: options.settings ?? {},
    ...machineOf(values.bases.device),
    stages,
    training: Object.entries(options.training).map(([name, network]) => {
      const steps = values[name].log,
        isCoupled = steps.some(({ values }) => "orth_unet" in values || "orth_te" in values);
      const orthogonality = isCoupled && values[name].settings.orthogonality !== false;
      return { name: runName(network!, orthogonality, isCoupled), network: network!, orthogonality, steps };
    }),
    ...pairInterference(options.training, values),
    columns: columnOrder.filter((kind) => options.columns[kind]).map((kind) => {
      const name = options.columns[kind]!;
      const found = values.retention.columns.find((column) => column.name === name);
      return {
        name,
        kind,
        identityKept: found?.identityKept ?? null,
        outfitTaken: found?.outfitTaken ?? null,
        identityHalf: found?.identityHalf ?? null,
        outfitHalf: found?.outfitHalf ?? null,
        pictures: found?.pictures ?? 0,
      };
    }),
    notes: options.notes ?? [],
    files,
    samples: "samples.png",
  };
}

/** How the weights of network 1 and of the first network 2 interfere; nothing where a report has not both. */
function pairInterference(
  training: WriteReportOptions<NetworkThings>["training"],
  values: Readonly<Record<string, Network>> & { readonly bases: LoadedBases },
): Pick<Report, "interference"> {
  const [one, two] = [1, 2].map((number) => Object.keys(training).find((name) => training[name] === number));
  if (one === undefined || two === undefined) return {};
  const { network1: base, network2: other } = values.bases;
  return {
    interference: {
      networks: [one, two],
      ...compareModules(networkModules(base, values[one]), networkModules(other, values[two])),
    },
  };
}
