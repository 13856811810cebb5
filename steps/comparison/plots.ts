import { config, toSvg } from "../report/plots.ts";
import { type ComparisonRow, judged } from "./table.ts";

/** A plot of one figure over all variants. */
export interface ComparisonPlot {
  /** The figure's name. */
  readonly name: string;
  readonly svg: string;
}

/** A plot for each figure that variants are judged by: means with their 95 % intervals, the baseline's mean as a line through all. */
export async function comparisonPlots(rows: readonly ComparisonRow[]): Promise<ComparisonPlot[]> {
  const plots: ComparisonPlot[] = [];
  for (const [name, label] of Object.entries(judged)) {
    const shown = rows.filter(({ figures }) => name in figures);
    if (shown.length === 0) continue;
    const values = shown.map(({ variant, seeds, figures: { [name]: { mean, half } } }) => {
      const reach = Number.isNaN(half) ? 0 : half;
      return { variant: `${variant} (${seeds.length})`, mean, low: mean - reach, high: mean + reach };
    });
    const y = { field: "variant", type: "nominal", sort: null, title: "variant (seeds)" } as const;
    const axis = { type: "quantitative", title: `${label} (mean, 95 % interval)`, scale: { zero: false } } as const;
    const svg = await toSvg({
      description: `${label} of each variant`,
      data: { values },
      width: 520,
      height: { step: 22 },
      layer: [
        {
          mark: { type: "rule", strokeDash: [4, 3], color: "#888888" },
          data: { values: [values[0]] },
          encoding: { x: { field: "mean", ...axis } },
        },
        {
          mark: { type: "rule", strokeWidth: 2 },
          encoding: { y, x: { field: "low", ...axis }, x2: { field: "high" } },
        },
        {
          mark: { type: "point", filled: true, size: 60, color: "#1a1a1a" },
          encoding: { y, x: { field: "mean", ...axis } },
        },
      ],
      config,
    });
    plots.push({ name, svg });
  }
  return plots;
}
