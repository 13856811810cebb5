import type { GroupInterference } from "../../lora/interference.ts";
import { groupCells, type Measurement, measurementNotes } from "../lora_tools/measure.ts";
import { escapeHtml } from "./html.ts";
import { interferenceMaps } from "./interference_maps.ts";
import { htmlPage, keyTable, section } from "./page.ts";

/**
 * A measurement of two LoRA files as one HTML file that needs no network, no script and no other file: outcome, heat maps laid out like the models, tables, files.
 */
export async function interferenceHtml(measurement: Measurement): Promise<string> {
  const { dualora, files, all, parts, blocks } = measurement;
  const maps = await interferenceMaps(measurement.modules);
  const figures = maps.map(({ title, caption, svg }) =>
    `<figure><h3>${escapeHtml(title)}</h3>${svg}<figcaption>${escapeHtml(caption)}</figcaption></figure>`
  );
  const notes = measurementNotes(measurement).map((note) => `<p class="soft">${escapeHtml(note)}</p>`).join("");
  return htmlPage({
    title: "dualora: interference of two LoRAs",
    heading: "Interference of two LoRAs",
    lead: leadText(all),
    note:
      `1 is <code>${escapeHtml(files[0].file)}</code>, 2 is <code>${
        escapeHtml(files[1].file)
      }</code>, each at a strength of 1. ` +
      `From the weights alone: what the models' inputs make of it is not in here. Made by dualora ${
        escapeHtml(dualora)
      }.`,
    sections: [
      section("Parts", [groupTable("part", [all, ...parts]), notes]),
      section("Module by module", figures),
      section("Blocks", [groupTable("block", blocks)]),
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

function groupTable(kind: string, groups: readonly GroupInterference[]): string {
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
  ];
  const head = heads.map((text) => `<th scope="col" class="number">${text}</th>`).join("");
  const rows = groups.map((group) =>
    `<tr><th scope="row">${escapeHtml(group.name)}</th>${
      groupCells(group).map((text) => `<td class="number">${text}</td>`).join("")
    }</tr>`
  );
  return `<table><thead><tr><th scope="col">${kind}</th>${head}</tr></thead><tbody>${rows.join("")}</tbody></table>`;
}
