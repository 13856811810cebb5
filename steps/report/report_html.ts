import { durationText } from "../../pipeline/mod.ts";
import { escapeHtml } from "./html.ts";
import { htmlPage, section } from "./page.ts";
import { reportPlots } from "./plots.ts";
import { retentionPlot } from "./retention_plot.ts";
import { interferenceMaps } from "./interference_maps.ts";
import { measurementKey } from "../lora_tools/measure.ts";
import { groupTable, machineTable, mapFigures, plotFigures, settingsTable } from "./report_parts.ts";
import {
  figureText,
  finalValue,
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
  const plots = await reportPlots(report), retention = await retentionPlot(report.columns);

  const sections = [
    section("Pictures", [pictureFigure(report, samplesPng)]),
    section("What the LoRAs do, alone and together", [
      ...figures(report),
      ...plotFigures(retention ? [retention] : []),
    ]),
    section("Training", plotFigures(plots.filter(({ kind }) => kind === "training"))),
    section("Interference of the weights", await interferenceParts(report)),
    section("Time", plotFigures(plots.filter(({ kind }) => kind === "time"))),
    section("Settings", [settingsTable({ seed: report.seed, ...report.settings })]),
    section("Machine", [machineTable(report, report.dualora)]),
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

async function interferenceParts({ interference }: Report): Promise<string[]> {
  if (interference === undefined) return [];
  const { all, parts, modules, networks: [one, two] } = interference;
  const notes = `1 is ${one}, 2 is ${two}, each at a strength of 1; modules that both have. ${
    measurementKey.join(" ")
  }`;
  return [
    groupTable("part", [all, ...parts]),
    `<p class="soft">${escapeHtml(notes)}</p>`,
    ...mapFigures(await interferenceMaps(modules)),
  ];
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
    `farther off than the base; a dash: not asked for, or the base already has the very colours. Stack / alone is left out where the LoRA alone is below ${leastAlone}.</p>`,
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

function filesTable({ files }: Report): string {
  const rows = files.map(({ name, bytes, sha256 }) =>
    `<tr><th scope="row">${escapeHtml(name)}</th><td class="number">${bytes.toLocaleString("en")}</td>` +
    `<td><code>${escapeHtml(sha256)}</code></td></tr>`
  );
  return `<table><thead><tr><th scope="col">file</th><th scope="col" class="number">bytes</th><th scope="col">SHA-256</th></tr></thead>` +
    `<tbody>${rows.join("")}</tbody></table>`;
}

/** `2026-05-07 14:03 UTC`; a text that is no date stays as it is. */
function dateText(created: string): string {
  const date = new Date(created);
  return Number.isNaN(date.getTime()) ? created : `${date.toISOString().slice(0, 16).replace("T", " ")} UTC`;
}
