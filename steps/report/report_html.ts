import { durationText } from "../../pipeline/mod.ts";
import { escapeHtml } from "./html.ts";
import { htmlPage, keyTable, section } from "./page.ts";
import { type Plot, reportPlots } from "./plots.ts";
import {
  figureText,
  finalValue,
  type Json,
  leastAlone,
  type Report,
  resultText,
  stackShares,
  termText,
  totalSeconds,
} from "./report.ts";

/**
 * A report as one HTML file that needs no network, no script and no other file: outcome, pictures, figures, plots, settings.
 *
 * Readable in black and white, on paper and in the dark.
 *
 * @param samplesPng The picture grid, embedded.
 */
export async function reportHtml(report: Report, samplesPng: Uint8Array): Promise<string> {
  const plots = await reportPlots(report);
  const { adapter } = report;
  const sections = [
    section("Pictures", [pictureFigure(report, samplesPng)]),
    section("What the LoRAs do, alone and together", figures(report)),
    section("Training", plotFigures(plots.filter(({ kind }) => kind === "training"))),
    section("Time", plotFigures(plots.filter(({ kind }) => kind === "time"))),
    section("Settings", [keyTable([["seed", String(report.seed)], ...flatten(report.settings)])]),
    section("Machine", [
      keyTable([
        ["adapter", adapter.name],
        ["vendor", adapter.vendor],
        ["architecture", adapter.architecture],
        ["kind", adapter.cpu ? "driver on the CPU" : "GPU"],
        ["subgroup size", adapter.subgroupSize === null ? "no subgroups" : String(adapter.subgroupSize)],
        ["16-bit floats in shaders", adapter.f16 ? "yes" : "no"],
        ["dualora", report.dualora],
        ...Object.entries(report.versions),
      ]),
    ]),
    section("Files", [filesTable(report)]),
    section("Notes", report.notes.map((note) => `<p>${escapeHtml(note)}</p>`)),
  ];
  return htmlPage({
    title: "dualora: two LoRAs, alone and together",
    heading: "Two LoRAs, alone and together",
    lead: resultText(report),
    note: `One run with seed ${report.seed}: another seed can turn small differences around. Made ${
      escapeHtml(dateText(report.created))
    } by dualora ${escapeHtml(report.dualora)} in ${durationText(totalSeconds(report))} with <code>${
      escapeHtml(report.command)
    }</code>.`,
    sections,
  });
}

function pictureFigure({ samples, columns }: Report, png: Uint8Array): string {
  const names = columns.map(({ name }) => name).join(", ");
  const alternative = escapeHtml(`Sampled pictures in columns: ${names}`);
  return `<figure><img src="data:image/png;base64,${png.toBase64()}" alt="${alternative}">` +
    `<figcaption>${escapeHtml(samples)}</figcaption></figure>`;
}

function figures(report: Report): string[] {
  const shares = new Map(stackShares(report).map((shares) => [shares.column, shares]));
  const rows = report.columns.map((column) => {
    const stack = shares.get(column);
    const numbers = [
      figureText(column.identityKept),
      stack ? figureText(stack.identity) : "",
      figureText(column.outfitTaken),
      stack ? figureText(stack.outfit) : "",
      String(column.pictures),
    ];
    const cells = numbers.map((text) => `<td class="number">${text}</td>`).join("");
    return `<tr${stack ? ' class="stack"' : ""}><th scope="row">${escapeHtml(column.name)}</th>${cells}</tr>`;
  });
  const heads = ["identity kept", "stack / alone", "outfit taken", "stack / alone", "pictures"];
  const head = heads.map((text) => `<th scope="col" class="number">${text}</th>`).join("");
  return [
    `<table><thead><tr><th scope="col">column</th>${head}</tr></thead><tbody>${rows.join("")}</tbody></table>`,
    `<p class="soft">Identity kept and outfit taken are 1 − E / E₀ over the cells that the character, or the outfit, alone decides: E is the ` +
    `mean colour difference to them, E₀ that of the base without any LoRA. 1 is perfect, 0 is what the base does by itself, below 0 is ` +
    `farther off than the base. Stack / alone is left out where the LoRA alone is below ${leastAlone}.</p>`,
    ...endTable(report),
  ];
}

function endTable({ training }: Report): string[] {
  if (training.length === 0) return [];
  const rows = training.map((run) => {
    const values = [`loss_${run.network}`, "orth_te", "orth_unet"].map((name) => finalValue(run, name));
    const cells = [String(run.steps.length), ...values.map((value) => value === undefined ? "–" : termText(value))];
    return `<tr><th scope="row">${escapeHtml(run.name)}</th>${
      cells.map((text) => `<td class="number">${text}</td>`).join("")
    }</tr>`;
  });
  const heads = ["steps", "loss", "text term", "UNet term"];
  const head = heads.map((text) => `<th scope="col" class="number">${text}</th>`).join("");
  return [
    `<table><thead><tr><th scope="col">training run</th>${head}</tr></thead><tbody>${rows.join("")}</tbody></table>`,
    '<p class="soft">Loss and orthogonality terms are means over a run\'s last 20 steps; terms before their coefficients.</p>',
  ];
}

/** Narrow plots stand side by side. */
function plotFigures(plots: readonly Plot[]): string[] {
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
  return `<figure><h3>${escapeHtml(title)}</h3>${list}${svg}<figcaption>${escapeHtml(caption)}</figcaption></figure>`;
}

function filesTable({ files }: Report): string {
  const rows = files.map(({ name, bytes, sha256 }) =>
    `<tr><th scope="row">${escapeHtml(name)}</th><td class="number">${bytes.toLocaleString("en")}</td>` +
    `<td><code>${escapeHtml(sha256)}</code></td></tr>`
  );
  return `<table><thead><tr><th scope="col">file</th><th scope="col" class="number">bytes</th><th scope="col">SHA-256</th></tr></thead>` +
    `<tbody>${rows.join("")}</tbody></table>`;
}

/** Nested settings as rows, keys joined by dots. */
function flatten(settings: Report["settings"], prefix = ""): [string, string][] {
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

/** `2026-05-07 14:03 UTC`; a text that is no date stays as it is. */
function dateText(created: string): string {
  const date = new Date(created);
  return Number.isNaN(date.getTime()) ? created : `${date.toISOString().slice(0, 16).replace("T", " ")} UTC`;
}
