import { figureText, type ReportColumn } from "./report.ts";
import { config, type Plot, toSvg } from "./plots.ts";

/** A column's figures, as far as bars show them. */
export type RetentionBars = Pick<
  ReportColumn,
  "name" | "identityKept" | "outfitTaken" | "identityHalf" | "outfitHalf" | "pictures"
>;

const concepts = [
  { name: "identity kept", share: "identityKept", half: "identityHalf" },
  { name: "outfit taken", share: "outfitTaken", half: "outfitHalf" },
] as const;

/**
 * Bars of what each column shows of what the LoRAs taught, with 95 % intervals over its pictures, a dash where there is no figure; undefined where no column was
 * measured.
 */
export async function retentionPlot(columns: readonly RetentionBars[]): Promise<Plot | undefined> {
  const measured = columns.filter(({ pictures }) => pictures > 0);
  if (measured.length === 0) return undefined;
  const bars = concepts.flatMap(({ name: concept, share, half }) =>
    measured.map((column) => {
      const value = column[share], width = column[half] ?? null, label = `${column.name}: ${concept}`;
      if (value === null) return { label, concept, value: 0, hasValue: false, text: figureText(null), at: 0 };
      const text = figureText(value) + (width === null ? "" : ` ± ${width.toFixed(2)}`);
      const ends = width === null ? {} : { low: value - width, high: value + width };
      return { label, concept, value, hasValue: true, text, ...ends, at: Math.max(value, value + (width ?? 0), 0) };
    })
  );
  const y = {
    field: "label",
    type: "nominal",
    sort: bars.map(({ label }) => label),
    title: null,
    axis: { ticks: false, domain: false, labelPadding: 8 },
  } as const;
  const title = "share of what was taught (1: all, 0: as the base)";
  // Without anything to span there is an axis all the same.
  const scale = bars.some(({ value, at }) => value !== 0 || at !== 0) ? { nice: true } : { domain: [0, 1] };
  const x = { field: "value", type: "quantitative", title, scale } as const;
  const line = { type: "rule", color: "#1a1a1a", strokeWidth: 1.5 } as const;
  const tick = { type: "tick", color: "#1a1a1a", thickness: 1.5, height: 8 } as const;
  const intervals = bars.filter((bar) => "low" in bar);
  const svg = await toSvg({
    description: "Share of each concept in each column, with 95 % intervals",
    data: { values: bars },
    width: 420,
    height: { step: 26 },
    layer: [
      {
        data: { values: bars.filter(({ hasValue }) => hasValue) },
        mark: { type: "bar", height: 15, stroke: "#1a1a1a", strokeWidth: 1 },
        encoding: {
          y,
          x,
          // Told apart by the text beside them as well.
          color: {
            field: "concept",
            type: "nominal",
            legend: null,
            scale: { domain: concepts.map(({ name }) => name), range: ["#8c8c8c", "#e3e3e3"] },
          },
        },
      },
      { data: { values: intervals }, mark: line, encoding: { y, x: { ...x, field: "low" }, x2: { field: "high" } } },
      ...(["low", "high"] as const).map((field) => ({
        ...{ data: { values: intervals }, mark: tick, encoding: { y, x: { ...x, field } } },
      })),
      {
        mark: { type: "text", align: "left", dx: 6, fontSize: 12, color: "#1a1a1a" },
        encoding: { y, x: { ...x, field: "at" }, text: { field: "text" } },
      },
    ],
    config,
  });
  const pictures = [...new Set(measured.map(({ pictures }) => pictures))].toSorted((a, b) => a - b).join(" or ");
  return {
    kind: "retention",
    title: "Retention",
    caption:
      `1 − E / E₀ over the cells that the concept alone decides, and the 95 % interval over ${pictures} pictures (jackknife). ` +
      "The interval says how much pictures differ, not trainings. A dash: the column's prompts do not ask for the concept, or the base already has its very " +
      "colours (E₀ is 0).",
    legend: [],
    svg,
    isNarrow: false,
  };
}
