import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import type { Report, ReportTraining } from "./report.ts";
import { smooth, smoothingWindow } from "./smooth.ts";

/** How a training run is drawn, the same in every plot. */
export interface LineStyle {
  readonly name: string;
  readonly colour: string;
  /** Lengths of dashes and gaps, as SVG's `stroke-dasharray`. */
  readonly dash: readonly number[];
}

/** A plot as inline SVG, with what its reader must know. */
export interface Plot {
  readonly kind: "training" | "time" | "retention";
  readonly title: string;
  readonly caption: string;
  /** The lines in it; empty where it has none. */
  readonly legend: readonly LineStyle[];
  readonly svg: string;
  /** Whether two of its kind fit side by side. */
  readonly isNarrow: boolean;
}

/** One training run's curve of one figure. */
interface Curve {
  readonly line: LineStyle;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

/** Told apart by colour-blind eyes (Okabe and Ito's), and by their dashes in black and white: of those there are more. */
const lineColours = ["#1a1a1a", "#0072b2", "#d55e00", "#6b6b6b"];
const lineDashes = [[1, 0], [7, 3], [2, 2], [8, 2, 2, 2], [14, 4], [5, 2, 5, 6], [2, 6], [12, 2, 2, 2, 2, 2]];

/** How all plots look. */
export const config = {
  background: "#ffffff",
  font: "system-ui, sans-serif",
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
    labelFlush: false,
    // Without a canvas Vega guesses the width of text, too wide: any limit would cut labels that fit.
    labelLimit: 0,
  },
} as const;

/**
 * All plots of a report: loss per training run, both orthogonality terms with and without the loss, seconds per stage.
 *
 * A plot without anything to show is left out.
 */
export async function reportPlots({ training, stages }: Pick<Report, "training" | "stages">): Promise<Plot[]> {
  const plots = [
    await lossPlot(training),
    await termPlot(training, "orth_te", "Orthogonality term of the text encoder"),
    await termPlot(training, "orth_unet", "Orthogonality term of the UNet"),
    await stagePlot(stages),
  ];
  return plots.filter((plot) => plot !== undefined);
}

async function lossPlot(training: readonly ReportTraining[]): Promise<Plot | undefined> {
  const { curves, windows, left } = curvesOf(training, ({ network }) => `loss_${network}`, {
    smoothed: (values, window) => smooth(values, window),
  });
  if (curves.length === 0) return undefined;
  const terms = training.some(({ orthogonality }) => orthogonality)
    ? " Where orthogonality is on, its terms are part of the loss."
    : "";
  return {
    kind: "training",
    title: "Loss",
    caption:
      `What was trained on: distance of the prediction from its target, with the training's own weights.${terms} ${
        pointText("mean", windows)
      }${left}`,
    legend: curves.map(({ line }) => line),
    svg: await curvesSvg(curves, { width: 700, height: 240, yTitle: "prediction error + terms (no unit)" }),
    isNarrow: false,
  };
}

async function termPlot(
  training: readonly ReportTraining[],
  figure: "orth_te" | "orth_unet",
  title: string,
): Promise<Plot | undefined> {
  const { curves, windows, left } = curvesOf(training, () => figure, {
    // Terms fall by decades: a plain mean would follow the largest value near.
    smoothed: (values, window) => smooth(values.map(Math.log10), window).map((value) => 10 ** value),
  });
  if (curves.length === 0) return undefined;
  return {
    kind: "training",
    title,
    caption: `Before its coefficient. ${pointText("geometric mean", windows)}${left}`,
    legend: curves.map(({ line }) => line),
    svg: await curvesSvg(curves, { width: 300, height: 220, yTitle: "orthogonality term (no unit)" }),
    isNarrow: true,
  };
}

/**
 * One smoothed curve per run that has the figure, without zeros and what is not finite: a logarithmic axis has no place for them. What two
 * networks share that were trained side by side, their terms, is network 2's.
 */
function curvesOf(
  training: readonly ReportTraining[],
  figureOf: (run: ReportTraining) => string,
  { smoothed }: { smoothed: (values: readonly number[], window: number) => number[] },
): { curves: Curve[]; windows: number[]; left: string } {
  const curves: Curve[] = [], windows = new Set<number>();
  let leftOut = 0;
  for (const [index, run] of training.entries()) {
    const figure = figureOf(run), line = lineStyle(run.name, index);
    const measured = run.steps.filter(({ values }) => values[figure] !== undefined);
    if (training.some((other) => isShared(run, other, figure))) continue;
    const shown = measured.filter(({ values }) => values[figure] > 0 && values[figure] < Infinity);
    leftOut += measured.length - shown.length;
    if (shown.length === 0) continue;
    const window = smoothingWindow(shown.length);
    const values = smoothed(shown.map(({ values }) => values[figure]), window);
    windows.add(window);
    // Steps count from 0; people count them from 1.
    curves.push({ line, points: shown.map(({ step }, at) => ({ x: step + 1, y: values[at] })) });
  }
  return {
    curves,
    windows: [...windows].toSorted((a, b) => a - b),
    left: leftOut === 0 ? "" : ` Left out, since they are 0 or not finite: ${leftOut} values.`,
  };
}

/** Whether a network 1's figure is one of a network 2's too, as far as it goes. */
function isShared(run: ReportTraining, other: ReportTraining, figure: string): boolean {
  if (run.network !== 1 || other.network !== 2) return false;
  const values = new Map(other.steps.map(({ step, values }) => [step, values[figure]]));
  return run.steps.every((each) => !(figure in each.values) || Object.is(values.get(each.step), each.values[figure]));
}

/** What a point of a smoothed curve is. */
function pointText(mean: string, windows: readonly number[]): string {
  const most = windows.at(-1) === 1
    ? "Every step is shown"
    : `Each point is the ${mean} of the ${windows.join(" or ")} steps around it`;
  return `${most}; logarithmic axis.`;
}

function lineStyle(name: string, index: number): LineStyle {
  return { name, colour: lineColours[index % lineColours.length], dash: lineDashes[index % lineDashes.length] };
}

function curvesSvg(
  curves: readonly Curve[],
  { width, height, yTitle }: { width: number; height: number; yTitle: string },
): Promise<string> {
  const values = curves.flatMap(({ points }, run) => points.map(({ x, y }) => ({ run, x, y })));
  const runs = curves.map((_, run) => run);
  const ticks = logTicks(values.map(({ y }) => y));
  return toSvg({
    description: `${yTitle} over optimizer steps`,
    data: { values },
    width,
    height,
    // A line through a single point shows nothing.
    mark: { type: "line", strokeWidth: 1.8, point: curves.some(({ points }) => points.length === 1) },
    encoding: {
      x: {
        field: "x",
        type: "quantitative",
        title: "optimizer step",
        scale: { zero: true },
        axis: { grid: false, tickCount: Math.round(width / 80) },
      },
      y: {
        field: "y",
        type: "quantitative",
        title: yTitle,
        scale: { type: "log", domain: [ticks[0], ticks.at(-1)!] },
        axis: {
          values: ticks,
          labelExpr: "datum.value < 0.001 ? format(datum.value, '~e') : format(datum.value, '~r')",
        },
      },
      color: {
        field: "run",
        type: "nominal",
        legend: null,
        scale: { domain: runs, range: curves.map(({ line }) => line.colour) },
      },
      strokeDash: {
        field: "run",
        type: "nominal",
        legend: null,
        scale: { domain: runs, range: curves.map(({ line }) => [...line.dash]) },
      },
    },
    config,
  });
}

/**
 * Ticks of a logarithmic axis that holds all values between its first and its last: 1, 2 and 5 in each decade over up to two decades, else
 * every decade, or every few.
 *
 * @param values Above 0; at least one.
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(logTicks([0.03, 0.6]), [0.02, 0.05, 0.1, 0.2, 0.5, 1]);
 * deepEqual(logTicks([3e-3, 20]), [1e-3, 1e-2, 1e-1, 1, 10, 100]);
 * ```
 */
export function logTicks(values: readonly number[]): number[] {
  const lowest = values.reduce((a, b) => Math.min(a, b)), highest = values.reduce((a, b) => Math.max(a, b));
  const low = Math.floor(Math.log10(lowest)), high = Math.max(low + 1, Math.ceil(Math.log10(highest)));
  const power = (exponent: number) => Number(`1e${exponent}`);
  if (Math.log10(highest / lowest) <= 2) {
    const all = Array.from(
      { length: high - low + 1 },
      (_, at) => [1, 2, 5].map((digit) => Number(`${digit}e${low + at}`)),
    )
      .flat();
    return all.slice(all.findLastIndex((tick) => tick <= lowest), all.findIndex((tick) => tick > highest) + 1);
  }
  const stride = Math.ceil((high - low) / 6);
  const count = Math.ceil((high - low) / stride) + 1;
  return Array.from({ length: count }, (_, at) => power(high - (count - 1 - at) * stride));
}

async function stagePlot(stages: Report["stages"]): Promise<Plot | undefined> {
  if (stages.length === 0) return undefined;
  const values = stages.map(({ seconds }, order) => ({ order, seconds, text: secondsText(seconds) }));
  const names = JSON.stringify(stages.map(({ name }) => name));
  const y = {
    field: "order",
    type: "ordinal",
    // Places, not names, are the field: two stages of one name stay two.
    axis: { title: null, labelExpr: `${names}[datum.value]`, labelPadding: 8, ticks: false, domain: false },
  } as const;
  const x = { field: "seconds", type: "quantitative", title: "time (seconds)", axis: { tickCount: 6 } } as const;
  const svg = await toSvg({
    description: "Seconds per stage",
    data: { values },
    width: 480,
    height: { step: 26 },
    layer: [
      { mark: { type: "bar", color: "#4c4c4c", height: 14 }, encoding: { y, x } },
      {
        mark: { type: "text", align: "left", dx: 5, fontSize: 12, color: "#1a1a1a" },
        encoding: { y, x, text: { field: "text" } },
      },
    ],
    config,
  });
  const caption = "Wall-clock time, in the order the stages ran.";
  return { kind: "time", title: "Time per stage", caption, legend: [], svg, isNarrow: false };
}

/** Draws a plot as SVG. */
export async function toSvg(spec: TopLevelSpec): Promise<string> {
  const view = new View(parse(compile(spec).spec), { renderer: "none" });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

function secondsText(seconds: number): string {
  return seconds < 9.95 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds)} s`;
}
