import { config, toSvg } from "../report/plots.ts";
import { type ComparisonRow, enoughSeeds, judged } from "./table.ts";

/** A plot of one figure over all variants. */
export interface ComparisonPlot {
  /** The figure's name. */
  readonly name: string;
  readonly svg: string;
}

/** What the numbers on a figure's axis are; none has a unit. */
function scaleText(name: string): string {
  return name === "additivity" ? "0: changes add up" : "share: 1 all, 0 as the base";
}

/**
 * A plot for each figure that variants are judged by: each seed as a ring, means as dots, 95 % intervals of three seeds or more as lines, the baseline's mean as a dashed line
 * through all. The axis reaches as far as the seeds; longer intervals end there in an arrow.
 */
export async function comparisonPlots(rows: readonly ComparisonRow[]): Promise<ComparisonPlot[]> {
  const plots: ComparisonPlot[] = [];
  for (const [name, label] of Object.entries(judged)) {
    const shown = rows.flatMap(({ variant, seeds, figures: { [name]: figure } }) =>
      figure ? [{ variant: `${variant} (${seeds.length})`, ...figure }] : []
    );
    if (shown.length === 0) continue;
    const all = shown.flatMap(({ values }) => values), edge = (Math.max(...all) - Math.min(...all)) * 0.06 || 1;
    const domain = [Math.min(...all) - edge, Math.max(...all) + edge], [low, high] = domain;
    const means = shown.map(({ variant, mean }) => ({ variant, x: mean }));
    const intervals = shown.flatMap(({ variant, mean, half, count }) =>
      count < enoughSeeds ? [] : [{ variant, x: mean - half, high: mean + half }]
    );
    const cut = {
      left: intervals.flatMap(({ variant, x }) => x < low ? [{ variant, x: low }] : []),
      right: intervals.flatMap(({ variant, high: x }) => x > high ? [{ variant, x: high }] : []),
    };
    const seeds = shown.flatMap(({ variant, values }) => values.map((x) => ({ variant, x })));
    const { variant: first, figures: { [name]: baseline } } = rows[0];
    const title = [
      `${label} (${scaleText(name)})`,
      `ring: a seed; dot: their mean; line: its 95 % interval, of ${enoughSeeds} seeds or more${
        cut.left.length + cut.right.length > 0 ? ", an arrow where it goes on" : ""
      }`,
      ...baseline ? [`dashed: mean of “${first}”`] : [],
    ];
    const y = {
      field: "variant",
      type: "nominal" as const,
      sort: shown.map(({ variant }) => variant),
      title: "variant (seeds)",
      // Many rows: the eye needs a line from a name to its points.
      axis: { grid: true, titlePadding: 16 },
    };
    const x = { field: "x", type: "quantitative", title, scale: { domain } } as const, x2 = { field: "high" } as const;
    const dashes = { type: "rule" as const, strokeDash: [4, 3], strokeWidth: 1.5, color: "#4c4c4c" };
    const line = { type: "rule", strokeWidth: 2, clip: true } as const;
    const ring = { type: "point", filled: false, size: 40, color: "#6b6b6b" } as const;
    const dot = { type: "point", filled: true, size: 70, color: "#1a1a1a", opacity: 1 } as const;
    const svg = await toSvg({
      description: `${label} of each variant`,
      width: 520,
      height: { step: 22 },
      layer: [
        ...baseline ? [{ data: { values: [{ x: baseline.mean }] }, mark: dashes, encoding: { x } }] : [],
        { data: { values: intervals }, mark: line, encoding: { y, x, x2 } },
        ...(["left", "right"] as const).map((side) => ({
          data: { values: cut[side] },
          mark: { ...dot, shape: `triangle-${side}`, size: 110 },
          encoding: { y, x },
        })),
        { data: { values: seeds }, mark: ring, encoding: { y, x } },
        { data: { values: means }, mark: dot, encoding: { y, x } },
      ],
      config,
    });
    plots.push({ name, svg });
  }
  return plots;
}
