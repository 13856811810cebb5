import type { GroupInterference } from "../../lora/interference.ts";
import type { GroupResponse } from "../../lora/responses.ts";
import { groupCells, interferenceText } from "../lora_tools/measure.ts";
import { escapeHtml } from "./html.ts";
import { type InterferenceMap, shades } from "./interference_maps.ts";
import type { Machine } from "./machine.ts";
import { keyTable } from "./page.ts";
import type { Plot } from "./plots.ts";
import type { Json } from "./report.ts";

/** Settings as a table, nested ones under their names joined by dots. */
export function settingsTable(settings: { readonly [name: string]: Json | undefined }): string {
  return keyTable(flatten(settings));
}

function flatten(settings: { readonly [name: string]: Json | undefined }, prefix = ""): [string, string][] {
  return Object.entries(settings).flatMap(([name, value]): [string, string][] => {
    if (value === undefined) return [];
    return isRecord(value) ? flatten(value, `${prefix}${name}.`) : [[prefix + name, valueText(value)]];
  });
}

function isRecord(value: Json): value is { readonly [name: string]: Json | undefined } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function valueText(value: Json): string {
  if (typeof value === "string") return value;
  return Array.isArray(value) ? value.map(valueText).join(", ") : JSON.stringify(value);
}

/** What a run was computed on, as a table. */
export function machineTable({ adapter, versions }: Machine, dualora: string): string {
  return keyTable([
    ["adapter", adapter.name],
    ["vendor", adapter.vendor],
    ["architecture", adapter.architecture],
    ["kind", adapter.cpu ? "driver on the CPU" : "GPU"],
    ["subgroup size", adapter.subgroupSize === null ? "no subgroups" : String(adapter.subgroupSize)],
    ["16-bit floats in shaders", adapter.f16 ? "yes" : "no"],
    ["dualora", dualora],
    ...Object.entries(versions),
  ]);
}

/** Plots with their legends and captions; narrow ones stand side by side. */
export function plotFigures(plots: readonly Plot[]): string[] {
  const narrow = plots.filter(({ isNarrow }) => isNarrow);
  return [
    ...plots.filter(({ isNarrow }) => !isNarrow).map(plotFigure),
    ...(narrow.length > 0 ? [`<div class="pair">${narrow.map(plotFigure).join("")}</div>`] : []),
  ];
}

function plotFigure({ title, caption, legend, svg }: Plot): string {
  const items = legend.map(({ name, colour, dash }) =>
    `<li><svg width="34" height="10" aria-hidden="true"><line x1="0" y1="5" x2="34" y2="5" stroke="${colour}" ` +
    `stroke-width="2" stroke-dasharray="${dash.join(" ")}"/></svg>${escapeHtml(name)}</li>`
  );
  const list = items.length > 0 ? `<ul class="legend">${items.join("")}</ul>` : "";
  return `<figure><h3>${escapeHtml(title)}</h3>${list}<div class="drawing">${svg}</div><figcaption>${
    escapeHtml(caption)
  }</figcaption></figure>`;
}

/** Heat maps of two LoRAs, each with its shades and its caption. */
export function mapFigures(maps: readonly InterferenceMap[]): string[] {
  return maps.map(({ title, caption, unit, svg }) => {
    const items = shades.map(({ value, colour }, at) =>
      `<li><svg width="14" height="14" aria-hidden="true"><rect x="0.5" y="0.5" width="13" height="13" fill="${colour}" ` +
      `stroke="#888888"/></svg>${value.toFixed(2)}${at === shades.length - 1 ? " and above" : ""}</li>`
    );
    return `<figure><h3>${escapeHtml(title)}</h3><ul class="legend"><li>${escapeHtml(unit)}:</li>${
      items.join("")
    }</ul><div class="drawing">${svg}</div>` +
      `<figcaption>${escapeHtml(caption)}</figcaption></figure>`;
  });
}

/**
 * Parts or blocks as a table.
 *
 * @param onData Their crosstalk on data, where it was measured.
 */
export function groupTable(
  kind: string,
  groups: readonly GroupInterference[],
  onData?: readonly GroupResponse[],
): string {
  const answers = new Map(onData?.map(({ name, crosstalk }) => [name, crosstalk]));
  const heads = [
    "modules",
    "rows, mean cos²",
    "by chance",
    "columns, mean cos²",
    "by chance",
    "rows, largest cos",
    "cosine of changes",
    "crosstalk 2 in 1",
    "crosstalk 1 in 2",
    ...onData ? ["on data 2 in 1", "on data 1 in 2"] : [],
  ];
  const head = heads.map((text) => `<th scope="col" class="number">${text}</th>`).join("");
  const rows = groups.map((group) =>
    `<tr><th scope="row">${escapeHtml(group.name)}</th>${
      [...groupCells(group), ...onData ? (answers.get(group.name) ?? [null, null]).map(interferenceText) : []].map((
        text,
      ) => `<td class="number">${text}</td>`).join("")
    }</tr>`
  );
  return `<table><thead><tr><th scope="col">${kind}</th>${head}</tr></thead><tbody>${rows.join("")}</tbody></table>`;
}
