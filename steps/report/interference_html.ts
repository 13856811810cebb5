import type { GroupInterference } from "../../lora/interference.ts";
import { interferenceText, measurementNotes, silenceText } from "../lora_tools/measure.ts";
import { escapeHtml } from "./html.ts";
import { interferenceMaps } from "./interference_maps.ts";
import {
  additivityText,
  hookAnswers,
  hookLines,
  type InterferenceOnBase,
  type InterferenceReport,
} from "./interference_report.ts";
import { htmlPage, keyTable, section } from "./page.ts";
import { reportPlots } from "./plots.ts";
import { termText } from "./report.ts";
import { groupTable, machineTable, mapFigures, plotFigures, settingsTable } from "./report_parts.ts";
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
  const plots = await reportPlots({ training, stages: onBase?.stages ?? [] });
  const retention = await retentionPlot(onBase?.retention ?? []);
  const silence = silenceText(modules);
  const notes = measurementNotes(report).map((note) => `<p class="soft">${escapeHtml(note)}</p>`).join("");
  return htmlPage({
    title: "dualora: interference of two LoRAs",
    heading: "Interference of two LoRAs",
    lead: [
      ...silence === null ? [] : [silence],
      ...onBase ? [additivityText(onBase.additivity)] : [],
      ...silence === null ? [leadText(all)] : [],
    ].join(" "),
    note:
      `1 is <code>${escapeHtml(files[0].file)}</code>, 2 is <code>${
        escapeHtml(files[1].file)
      }</code>, each at a strength of 1. ` +
      (onBase
        ? `Measured in the base <code>${escapeHtml(onBase.base)}</code>. `
        : "From the weights alone: what the models' inputs make of it is not in here. ") +
      `Made by dualora ${escapeHtml(dualora)}.`,
    sections: [
      section("Pictures", samplesPng && onBase ? [pictures(samplesPng, onBase.pictures)] : []),
      section("In the base", onBase ? onBaseTables(onBase) : []),
      section("What the LoRAs taught, alone and in the stack", plotFigures(retention ? [retention] : [])),
      section("Training", plotFigures(plots.filter(({ kind }) => kind === "training"))),
      section("Weights", [
        groupTable("part", [all, ...parts]),
        notes,
      ]),
      section("Module by module", mapFigures(maps)),
      section("Blocks", [groupTable("block", blocks, onBase?.crosstalk.blocks)]),
      section("Time", plotFigures(plots.filter(({ kind }) => kind === "time"))),
      section("Settings", onBase ? [settingsTable(onBase.settings)] : []),
      section("Machine", onBase ? [machineTable(onBase, dualora)] : []),
      section(
        "Files",
        [
          keyTable([
            ...files.flatMap(({ file, sha256, modules, alone }, k) =>
              [
                [`file ${k + 1}`, file],
                ["SHA-256", sha256],
                ["modules", String(modules)],
                ["modules that the other has not", alone.join(", ")],
              ] as const
            ),
            ...onBase ? [["base", onBase.base], ["SHA-256 of its content", onBase.baseHash]] as const : [],
          ]),
          ...onBase
            ? [
              '<p class="soft">All other files that were read, with their hashes: <code>run.json</code> in the run\'s folder.</p>',
            ]
            : [],
        ],
      ),
    ],
  });
}

function pictures(png: Uint8Array, columns: InterferenceOnBase["pictures"]): string {
  const names = columns.map(({ name }) => name).join(", ");
  const prompts = columns.map(({ name, prompt }) => `${name}: “${prompt}”`).join("; ");
  const row = columns.some(({ prompt }) => prompt.includes("{row}")) ? " {row} is each row's name." : "";
  return `<figure><img src="data:image/png;base64,${png.toBase64()}" alt="${
    escapeHtml(`Sampled pictures in columns: ${names}`)
  }">` +
    `<figcaption>${escapeHtml(`All columns have the same seeds. Prompts: ${prompts}.${row}`)}</figcaption></figure>`;
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
      ...hookLines.map(([name, label]) =>
        [`hooks: ${label}`, hooks[name] === null ? "" : termText(hooks[name])] as const
      ),
      ...hookAnswers(crosstalk.modules),
    ]),
    `<p class="soft">${
      escapeHtml(
        `On ${data}, at four timesteps each. Additivity error: 0 where the changes of both add up in the stack, 1 where what does not is as large as they are` +
          `${
            probes.prompts.length === 0
              ? ""
              : `, asked with ${probes.prompts.map((prompt) => `“${prompt}”`).join(", ")}`
          }. ` +
          "Mean squares: of a prediction, where noise itself has 1. Crosstalk on data: how strongly one answers to the inputs that the layers have on the other's data, by the other's own answer. " +
          "Hooks: the method's terms before their coefficients, without unit; a dash where a LoRA has no module there. A term is small where the two " +
          "are orthogonal, and as well where one of them hardly answers at all: then the crosstalk at the hook is far from 1. Of pictures of 64×64 pixels " +
          "the UNet's matrices are single numbers: its term and divergence are 0 there, whatever the LoRAs do.",
      )
    }</p>`,
    `<table><thead><tr><th scope="col">crosstalk on data</th><th scope="col" class="number">modules</th>` +
    `<th scope="col" class="number">2 in 1</th><th scope="col" class="number">1 in 2</th></tr></thead><tbody>${
      [crosstalk.all, ...crosstalk.parts].map(({ name, modules, crosstalk }) =>
        `<tr><th scope="row">${escapeHtml(name)}</th>${
          [String(modules), ...crosstalk.map(interferenceText)].map((text) => `<td class="number">${text}</td>`).join(
            "",
          )
        }</tr>`
      ).join("")
    }</tbody></table>`,
  ];
}

/** The outcome in two sentences. */
function leadText({ modules, rows, rowsByChance, crosstalk }: GroupInterference): string {
  if (modules === 0) return "The files have no module in common: their weights meet nowhere.";
  const both = `Both files change ${modules} ${modules === 1 ? "layer" : "layers"}.`;
  if (rows === null) return `${both} In each of them one file changes nothing, so they do not interfere there.`;
  const percent = (share: number | null) => share === null ? "–" : `${(100 * share).toFixed(1)} %`;
  return `${both} What they read overlaps by ${percent(rows)}, where random spaces of these ranks would by ${
    percent(rowsByChance)
  }; to what 1 reads, 2 answers ${percent(crosstalk[0])} as strongly as 1 itself, the other way ${
    percent(crosstalk[1])
  }.`;
}
