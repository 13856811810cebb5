import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import type { Report, ReportTraining } from "./report.ts";
import { smooth, smoothingWindow } from "./smooth.ts";

/** A line of a plot: its points, in the order of x. */
interface Line {
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

/** A plot as inline SVG, with what its reader must know. */
export interface Plot {
  readonly title: string;
  readonly caption: string;
  readonly svg: string;
}

const fontFamily = "system-ui, sans-serif";

/** Ink, blue and vermilion of Okabe and Ito: told apart by colour-blind eyes; dashes tell them apart in black and white. */
const lineColours = ["#1a1a1a", "#0072b2", "#d55e00", "#5f5f5f"];
const lineDashes = [[1, 0], [7, 3], [2, 2], [8, 2, 2, 2]];

const config = {
  background: "#ffffff",
  font: fontFamily,
  padding: 4,
  view: { stroke: null },
  axis: {
    labelFontSize: 12,
    titleFontSize: 12,
    titleFontWeight: "normal",
    labelColor: "#333333",
    titleColor: "#333333",
    gridColor: "#e6e6e6",
    domainColor: "#888888",
    tickColor: "#888888",
    titlePadding: 8,
  },
  legend: { labelFontSize: 12, labelColor: "#1a1a1a", symbolSize: 700, symbolStrokeWidth: 2, labelLimit: 320 },
} as const;

/**
 * All plots of a report: loss per training run, both orthogonality terms with and without the loss, seconds per stage.
 *
 * A plot without anything to show is left out.
 */
export async function reportPlots(report: Pick<Report, "training" | "stages">): Promise<Plot[]> {
  const plots = [
    await lossPlot(report.training),
    await termPlot(report.training, "orth_te", "Orthogonality term of the text encoder"),
    await termPlot(report.training, "orth_unet", "Orthogonality term of the UNet"),
    await stagePlot(report.stages),
  ];
  return plots.filter((plot) => plot !== undefined);
}

async function lossPlot(training: readonly ReportTraining[]): Promise<Plot | undefined> {
  const series = training.map((run) => ({ run, points: pointsOf(run, `loss_${run.network}`) }))
    .filter(({ points }) => points.length > 0);
  if (series.length === 0) return undefined;
  const lines = series.map(({ run, points }) => {
    const means = smooth(points.map(({ y }) => y), smoothingWindow(points.length));
    return { name: run.name, points: points.map(({ x }, index) => ({ x, y: means[index] })) };
  });
  const withTerms = series.some(({ run }) => run.orthogonality)
    ? " Where orthogonality is on, its terms are part of the loss."
    : "";
  return {
    title: "Training loss",
    caption: `Mean over ${windowsText(series.map(({ points }) => points.length))} around each.${withTerms}`,
    svg: await lineSvg(lines, {
      width: 680,
      height: 240,
      yTitle: "loss (mean squared error of the noise)",
      log: false,
    }),
  };
}

async function termPlot(
  training: readonly ReportTraining[],
  name: "orth_te" | "orth_unet",
  title: string,
): Promise<Plot | undefined> {
  const found = training.map((run) => ({ run, points: pointsOf(run, name) })).filter(({ points }) => points.length > 0);
  // A logarithmic axis has no place for zero.
  const series = found.map(({ run, points }) => ({ run, points: points.filter(({ y }) => y > 0) }))
    .filter(({ points }) => points.length > 0);
  if (series.length === 0) return undefined;
  const lines = series.map(({ run, points }) => {
    const means = smooth(points.map(({ y }) => Math.log10(y)), smoothingWindow(points.length));
    return { name: run.name, points: points.map(({ x }, index) => ({ x, y: 10 ** means[index] })) };
  });
  const count = (list: readonly { points: readonly unknown[] }[]) =>
    list.reduce((sum, { points }) => sum + points.length, 0);
  const zeros = count(found) - count(series);
  const left = zeros === 0 ? "" : ` ${zeros} steps at exactly 0 are left out.`;
  const windows = windowsText(series.map(({ points }) => points.length));
  return {
    title,
    caption: `Before its coefficient; logarithmic. Geometric mean over ${windows} around each.${left}`,
    svg: await lineSvg(lines, { width: 300, height: 220, yTitle: "term (no unit, log)", log: true }),
  };
}

async function stagePlot(stages: Report["stages"]): Promise<Plot | undefined> {
  if (stages.length === 0) return undefined;
  const values = stages.map(({ name, seconds }, index) => ({
    order: index,
    name,
    seconds,
    text: secondsText(seconds),
  }));
  const y = {
    field: "order",
    type: "ordinal",
    axis: {
      title: null,
      labelExpr: `${JSON.stringify(stages.map(({ name }) => name))}[datum.value]`,
      labelLimit: 300,
      ticks: false,
      domain: false,
    },
  } as const;
  const spec: TopLevelSpec = {
    description: "Seconds per stage",
    data: { values },
    width: 480,
    height: { step: 26 },
    layer: [
      {
        mark: { type: "bar", color: "#4c4c4c", height: 14 },
        encoding: { y, x: { field: "seconds", type: "quantitative", title: "time (seconds)" } },
      },
      {
        mark: { type: "text", align: "left", dx: 5, fontSize: 12, color: "#1a1a1a" },
        encoding: { y, x: { field: "seconds", type: "quantitative" }, text: { field: "text" } },
      },
    ],
    config,
  };
  return { title: "Time per stage", caption: "Wall-clock time, in the order the stages ran.", svg: await toSvg(spec) };
}

function pointsOf({ steps }: ReportTraining, name: string): { x: number; y: number }[] {
  // Steps count from 0; people count them from 1.
  return steps.filter(({ values }) => values[name] !== undefined)
    .map(({ step, values }) => ({ x: step + 1, y: values[name] }));
}

function lineSvg(
  lines: readonly Line[],
  { width, height, yTitle, log }: { width: number; height: number; yTitle: string; log: boolean },
): Promise<string> {
  const names = lines.map(({ name }) => name);
  const cycle = <Value>(values: readonly Value[]) => names.map((_, index) => values[index % values.length]);
  const legend = { title: null, orient: "top", direction: width < 500 ? "vertical" : "horizontal" } as const;
  return toSvg({
    description: yTitle,
    data: { values: lines.flatMap(({ name, points }) => points.map(({ x, y }) => ({ name, x, y }))) },
    width,
    height,
    mark: { type: "line", strokeWidth: 1.8 },
    encoding: {
      x: { field: "x", type: "quantitative", title: "optimizer step", axis: { grid: false } },
      y: {
        field: "y",
        type: "quantitative",
        title: yTitle,
        scale: log ? { type: "log" } : { zero: true },
        axis: log ? { format: "~e", tickCount: 6 } : { tickCount: 5 },
      },
      color: { field: "name", type: "nominal", legend, scale: { domain: names, range: cycle(lineColours) } },
      strokeDash: { field: "name", type: "nominal", legend, scale: { domain: names, range: cycle(lineDashes) } },
    },
    config,
  });
}

async function toSvg(spec: TopLevelSpec): Promise<string> {
  const view = new View(parse(compile(spec).spec), { renderer: "none" });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

function windowsText(counts: readonly number[]): string {
  const windows = [...new Set(counts.map(smoothingWindow))].toSorted((a, b) => a - b);
  return windows.length === 1 && windows[0] === 1 ? "1 step" : `${windows.join(" or ")} steps`;
}

function secondsText(seconds: number): string {
  return seconds < 9.95 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds)} s`;
}
