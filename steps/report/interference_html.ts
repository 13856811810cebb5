import type { GroupInterference } from "../../lora/interference.ts";
import { groupCells, interferenceText, measurementNotes } from "../lora_tools/measure.ts";
import { escapeHtml } from "./html.ts";
import { interferenceMaps } from "./interference_maps.ts";
import { additivityText, hookLines, type InterferenceOnBase, type InterferenceReport } from "./interference_report.ts";
import { htmlPage, keyTable, section } from "./page.ts";
import { reportPlots } from "./plots.ts";
import { termText } from "./report.ts";
import { machineTable, plotFigures, settingsTable } from "./report_parts.ts";
import { retentionPlot } from "./retention_plot.ts";

/**
 * How two LoRAs interfere as one HTML file that needs no network, no script and no other file: outcome, pictures, figures, curves, heat maps laid out like the models,
 * tables, files.
 *
 * @param samplesPng The picture grid, where pictures were made.
 */
export async function interferenceHtml(report: InterferenceReport, samplesPng?: Uint8Array): Promise<string> {
  const { dualora, files, all, parts, blocks, modules, onBase, training = [] } = report;
  const maps = await interferenceMaps(modules, onBase?.crosstalk.modules);
  const figures = maps.map(({ title, caption, svg }) =>
    `<figure><h3>${escapeHtml(title)}</h3>${svg}<figcaption>${escapeHtml(caption)}</figcaption></figure>`
  );
  const plots = await reportPlots({ training, stages: onBase?.stages ?? [] });
  const retention = await retentionPlot(onBase?.retention ?? []);
  const notes = measurementNotes(report).map((note) => `<p class="soft">${escapeHtml(note)}</p>`).join("");
  return htmlPage({
    title: "dualora: interference of two LoRAs",
    heading: "Interference of two LoRAs",
    lead: (onBase ? `${additivityText(onBase.additivity)} ` : "") + leadText(all),
    note:
      `1 is <code>${escapeHtml(files[0].file)}</code>, 2 is <code>${
        escapeHtml(files[1].file)
      }</code>, each at a strength of 1. ` +
      (onBase
        ? `Measured in the base <code>${escapeHtml(onBase.base)}</code>. `
        : "From the weights alone: what the models' inputs make of it is not in here. ") +
      `Made by dualora ${escapeHtml(dualora)}.`,
    sections: [
      section("Pictures", samplesPng ? [pictures(samplesPng)] : []),
      section("In the base", onBase ? onBaseTables(onBase) : []),
      section("What the LoRAs taught, alone and in the stack", plotFigures(retention ? [retention] : [])),
      section("Training", plotFigures(plots.filter(({ kind }) => kind === "training"))),
      section("Weights", [groupTable("part", [all, ...parts]), notes]),
      section("Module by module", figures),
      section("Blocks", [groupTable("block", blocks, onBase)]),
      section("Time", plotFigures(plots.filter(({ kind }) => kind === "time"))),
      section("Settings", onBase ? [settingsTable(onBase.settings)] : []),
      section("Machine", onBase ? [machineTable(onBase, dualora)] : []),
      section(
        "Files",
        files.map(({ file, sha256, modules, alone }, k) =>
          keyTable([
            [`file ${k + 1}`, file],
            ["SHA-256", sha256],
            ["modules", String(modules)],
            ["modules that the other has not", alone.join(", ")],
          ])
        ),
      ),
    ],
  });
}

function pictures(png: Uint8Array): string {
  const names = "the base, LoRA 1, LoRA 2 and the stack, of the same prompts and seeds";
  return `<figure><img src="data:image/png;base64,${png.toBase64()}" alt="Pictures of ${names}">` +
    `<figcaption>Pictures of ${names}.</figcaption></figure>`;
}

/** Additivity, crosstalk on data and the hooks. */
function onBaseTables({ additivity, hooks, crosstalk, probes }: InterferenceOnBase): string[] {
  const data = `${probes.network1} and ${probes.network2} ${probes.source}`;
  const ratio = (value: number | null) => value === null ? "" : interferenceText(value);
  return [
    keyTable([
      ["additivity error", ratio(additivity?.error ?? null)],
      ["mean square of what does not add up", additivity ? termText(additivity.interaction) : ""],
      ["mean square of 1's change of a prediction", additivity ? termText(additivity.change1) : ""],
      ["mean square of 2's change", additivity ? termText(additivity.change2) : ""],
      ["predictions compared", additivity ? String(additivity.samples) : ""],
      ["crosstalk on data, 2 in 1", ratio(crosstalk.all.crosstalk[0])],
      ["crosstalk on data, 1 in 2", ratio(crosstalk.all.crosstalk[1])],
      ...hookLines.map(([name, label]) =>
        [`hooks: ${label}`, hooks[name] === null ? "" : termText(hooks[name])] as const
      ),
    ]),
    `<p class="soft">${
      escapeHtml(
        `On ${data}, at four timesteps each. Additivity error: 0 where the changes of both add up in the stack` +
          `${
            probes.prompts.length === 0
              ? ""
              : `, asked with ${probes.prompts.map((prompt) => `“${prompt}”`).join(", ")}`
          }. ` +
          "Crosstalk on data: how strongly one answers to the inputs that the layers have on the other's data, by the other's own answer. " +
          "Hooks: the method's terms before their coefficients, without unit; a dash where a LoRA has no module there.",
      )
    }</p>`,
  ];
}

/** The outcome in two sentences. */
function leadText({ modules, rows, rowsByChance, crosstalk }: GroupInterference): string {
  const both = `Both files change ${modules} ${modules === 1 ? "layer" : "layers"}.`;
  if (rows === null) return `${both} In each of them one file changes nothing, so they do not interfere there.`;
  const percent = (share: number | null) => share === null ? "–" : `${(100 * share).toFixed(1)} %`;
  return `${both} What they read overlaps by ${percent(rows)}, where random spaces of these ranks would by ${
    percent(rowsByChance)
  }; to what 1 reads, 2 answers ${percent(crosstalk[0])} as strongly as 1 itself, the other way ${
    percent(crosstalk[1])
  }.`;
}

function groupTable(kind: string, groups: readonly GroupInterference[], onBase?: InterferenceOnBase): string {
  const answers = new Map(onBase?.crosstalk.blocks.map(({ name, crosstalk }) => [name, crosstalk]));
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
    ...onBase ? ["on data 2 in 1", "on data 1 in 2"] : [],
  ];
  const head = heads.map((text) => `<th scope="col" class="number">${text}</th>`).join("");
  const rows = groups.map((group) =>
    `<tr><th scope="row">${escapeHtml(group.name)}</th>${
      [...groupCells(group), ...onBase ? (answers.get(group.name) ?? [null, null]).map(interferenceText) : []].map((
        text,
      ) => `<td class="number">${text}</td>`).join("")
    }</tr>`
  );
  return `<table><thead><tr><th scope="col">${kind}</th>${head}</tr></thead><tbody>${rows.join("")}</tbody></table>`;
}
