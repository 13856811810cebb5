import { config, toSvg } from "../report/plots.ts";
import { type ComparisonRow, enoughSeeds, judged } from "./table.ts";

/** A plot of one figure over all variants. */
export interface ComparisonPlot {
  /** The figure's name. */
  readonly name: string;
  readonly svg: string;
}

/**
 * A plot for each figure that variants are judged by: each seed as a ring, means as dots, 95 % intervals of three seeds or more as lines, the baseline's mean as a dashed line
 * through all. The axis reaches as far as the seeds; longer intervals are cut there.
 */
export async function comparisonPlots(rows: readonly ComparisonRow[]): Promise<ComparisonPlot[]> {
  const plots: ComparisonPlot[] = [];
  for (const [name, label] of Object.entries(judged)) {
    const shown = rows.flatMap(({ variant, seeds, figures: { [name]: figure } }) =>
      figure ? [{ variant: `${variant} (${seeds.length})`, ...figure }] : []
    );
    if (shown.length === 0) continue;
    const all = shown.flatMap(({ values }) => values), edge = (Math.max(...all) - Math.min(...all)) * 0.06 || 1;
    const domain = [Math.min(...all) - edge, Math.max(...all) + edge];
    const order = shown.map(({ variant }) => variant);
    const y = { field: "variant", type: "nominal" as const, sort: order, title: "variant (seeds)" };
    const axis = { type: "quantitative", title: `${label} (seeds, mean, 95 % interval)`, scale: { domain } } as const;
    const x = { field: "x", ...axis } as const, x2 = { field: "high" } as const;
    const means = shown.map(({ variant, mean }) => ({ variant, x: mean }));
    const intervals = shown.flatMap(({ variant, mean, half, count }) =>
      count < enoughSeeds ? [] : [{ variant, x: mean - half, high: mean + half }]
    );
    const seeds = shown.flatMap(({ variant, values }) => values.map((x) => ({ variant, x })));
    const baseline = { type: "rule" as const, strokeDash: [4, 3], color: "#888888" };
    const line = { type: "rule", strokeWidth: 2, clip: true } as const;
    const ring = { type: "point", filled: false, size: 40, color: "#6b6b6b" } as const;
    const dot = { type: "point", filled: true, size: 70, color: "#1a1a1a", opacity: 1 } as const;
    const svg = await toSvg({
      description: `${label} of each variant`,
      width: 520,
      height: { step: 22 },
      layer: [
        { data: { values: [means[0]] }, mark: baseline, encoding: { x } },
        { data: { values: intervals }, mark: line, encoding: { y, x, x2 } },
        { data: { values: seeds }, mark: ring, encoding: { y, x } },
        { data: { values: means }, mark: dot, encoding: { y, x } },
      ],
      config,
    });
    plots.push({ name, svg });
  }
  return plots;
}
