import { join } from "node:path";
import { durationText } from "../../pipeline/mod.ts";
import { meanInterval } from "../../steps/comparison/statistics.ts";
import { enoughSeeds } from "../../steps/comparison/table.ts";
import { markdownTable } from "../../steps/report/markdown_table.ts";
import { textTable } from "../../steps/report/text_table.ts";
import { writeTextFile } from "../../steps/outputs/text_file.ts";
import type { SweepRow } from "./gather.ts";

/** Figures that runs are compared by, in the tables for people. */
const compared = /^(loss|validation)_|^(orth|stack)_/;

/** Writes `results.csv`, `results.json` and `results.md` into a sweep's folder. */
export async function writeSweepTables(folder: string, rows: readonly SweepRow[]): Promise<void> {
  await writeTextFile(join(folder, "results.csv"), csvText(rows));
  await writeTextFile(join(folder, "results.json"), `${JSON.stringify({ runs: rows }, null, 2)}\n`);
  await writeTextFile(join(folder, "results.md"), `${markdownText(rows)}\n`);
}

/** The rows for a terminal, in columns. */
export function terminalTable(rows: readonly SweepRow[]): string {
  const { header, cells } = shownTable(rows);
  return textTable([header, ...cells]).join("\n");
}

/** The rows as a table in Markdown; with seeds, a second one has the means over them. */
export function markdownText(rows: readonly SweepRow[]): string {
  const tables = [shownTable(rows), seedTable(rows)].flatMap((table) => table === null ? [] : [table]);
  return tables.map(({ header, cells }) => markdownTable(header, cells.map((row) => row.map(escaped)))).join("\n\n");
}

/** All that is known, a line for each run, as RFC 4180 has it. */
export function csvText(rows: readonly SweepRow[]): string {
  const flags = namesOf(rows.map(({ own }) => own)), figures = namesOf(rows.map(({ figures }) => figures));
  const facts = ["run", "state", "exit_code"], times = ["steps", "seconds", "starts", "started", "ended"];
  const lines = rows.map((row) => [
    ...[row.name, row.state, row.code],
    ...flags.map((flag) => valueText(row.own[flag])),
    ...figures.map((name) => row.figures[name]),
    ...[row.steps, row.seconds, row.starts, row.started, row.ended],
  ]);
  return [[...facts, ...flags, ...figures, ...times], ...lines].map((line) => `${line.map(csvCell).join(",")}\r\n`)
    .join("");
}

interface Table {
  readonly header: string[];
  readonly cells: string[][];
}

function shownTable(rows: readonly SweepRow[]): Table {
  const figures = comparedFigures(rows);
  return {
    header: ["run", "state", "steps", ...figures, "time", "starts"],
    cells: rows.map(({ name, state, code, steps, figures: found, seconds, starts }) => [
      name,
      state === "failed" ? `failed (${code})` : state,
      steps === null ? "" : `${steps}`,
      ...figures.map((figure) => figure in found ? figureText(found[figure]) : ""),
      seconds === 0 ? "" : durationText(seconds),
      `${starts}`,
    ]),
  };
}

/** Means over the runs that are done and differ in their seeds alone; null where there are no such runs. */
function seedTable(rows: readonly SweepRow[]): Table | null {
  const done = rows.filter(({ state, own }) => state === "done" && "seed" in own);
  const groups = [...Map.groupBy(done, ({ own: { seed: _, ...others } }) => JSON.stringify(others)).values()];
  if (!groups.some(({ length }) => length > 1)) return null;
  const figures = comparedFigures(done), flags = namesOf(done.map(({ own: { seed: _, ...others } }) => others));
  return {
    header: [...flags, "seeds", ...figures.map((figure) => `${figure}, mean`)],
    cells: groups.map((group) => [
      ...flags.map((flag) => valueText(group[0].own[flag])),
      `${group.length}`,
      ...figures.map((figure) => {
        const values = group.flatMap(({ figures }) => figure in figures ? [figures[figure]] : []);
        if (values.length === 0) return "";
        const { mean, half } = meanInterval(values);
        return values.length < enoughSeeds ? figureText(mean) : `${figureText(mean)} ± ${figureText(half)}`;
      }),
    ]),
  };
}

function comparedFigures(rows: readonly SweepRow[]): string[] {
  return namesOf(rows.map(({ figures }) => figures)).filter((name) => compared.test(name));
}

function namesOf(records: readonly Readonly<Record<string, unknown>>[]): string[] {
  return [...new Set(records.flatMap(Object.keys))];
}

function valueText(value: unknown): string {
  return value === undefined ? "" : Array.isArray(value) ? value.join(" ") : String(value);
}

function figureText(value: number): string {
  return value === 0
    ? "0"
    : Math.abs(value) < 1e-3 || Math.abs(value) >= 1e4
    ? value.toExponential(2)
    : value.toPrecision(4);
}

function escaped(text: string): string {
  return text.replaceAll("|", "\\|");
}

function csvCell(value: string | number | null | undefined): string {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
