/// <reference lib="dom" />
import { html } from "htm/preact";
import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { dashes, type Line, type Plot, valueText } from "./curve_lines.ts";

/** Height of a plot in pixels of the screen. */
const height = 260;
/** Distances between numbers at the axis of steps. */
const wholeSteps = [1, 10, 100, 1000, 10_000, 100_000].flatMap((power) => [power, 2 * power, 5 * power]);
/** Below this width the names at the ends of curves are short. */
const narrow = 400;

/** The page's colours, which follow the light or dark of the system. */
interface Colours {
  readonly ink: string;
  readonly soft: string;
  readonly grid: string;
  readonly lines: readonly string[];
}

function readColours(): Colours {
  const style = getComputedStyle(document.documentElement);
  const read = (name: string) => style.getPropertyValue(name).trim();
  return {
    ...{ ink: read("--ink"), soft: read("--soft"), grid: read("--grid") },
    lines: dashes.map((_, at) => read(`--line-${at}`)),
  };
}

/** Colour and dashes of a line: several runs have a colour each, one alone a colour for each line. */
function looks(lines: readonly Line[], at: number, colours: Colours) {
  const key = isSeveral(lines) ? lines[at].run : at;
  return { colour: colours.lines[key % colours.lines.length], dash: dashes[at % dashes.length] };
}

/**
 * A plot: curves with their names at their ends, and below them a table with the values of the last step or of the step under the pointer. With the keyboard,
 * arrows move from step to step.
 *
 * @param props.isSmooth Whether the smoothed curves stand out; what they are made of is then drawn faintly.
 */
export function PlotView(
  { plot, lines, isSmooth }: { plot: Plot; lines: readonly Line[]; isSmooth: boolean },
): VNode {
  const place = useRef<HTMLDivElement>(null), chart = useRef<uPlot | null>(null);
  const [at, setAt] = useState<number | null>(null), [theme, setTheme] = useState(0);
  const [isNarrow, setNarrow] = useState(false);
  const isSmoothed = isSmooth && plot.isNoisy, isFaint = isSmoothed && !isSeveral(lines);
  const steps = [...new Set(lines.flatMap((line) => line.steps))].sort((a, b) => a - b);
  const shape = [lines.map(({ label }) => label).join("\n"), isSmoothed, theme, isNarrow].join("\n");
  const data = () => dataOf(steps, lines, isSmoothed, isFaint);

  useEffect(() => {
    const dark = matchMedia("(prefers-color-scheme: dark)"), change = () => setTheme((theme) => theme + 1);
    dark.addEventListener("change", change);
    return () => dark.removeEventListener("change", change);
  }, []);

  // Another set of curves is another chart; more points are not.
  useEffect(() => {
    const element = place.current!;
    const made = new uPlot(
      optionsOf(plot, lines, { isSmoothed, isFaint, width: element.clientWidth }, setAt),
      data(),
      element,
    );
    chart.current = made;
    const observer = new ResizeObserver(() => {
      made.setSize({ width: element.clientWidth, height });
      setNarrow(element.clientWidth < narrow);
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
    };
  }, [shape]);
  useEffect(() => {
    // The names at the ends are those of the lines as they are now.
    const made = chart.current! as LabelledChart;
    made.endLines = lines;
    made.setData(data());
  }, [lines, shape]);

  const move = (event: KeyboardEvent) => {
    const last = steps.length - 1, now = at ?? last;
    const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last }[event.key];
    if (event.key === "Escape") setAt(null);
    if (to === undefined) return;
    event.preventDefault();
    const made = chart.current!, index = Math.min(last, Math.max(0, to));
    made.setCursor({ left: made.valToPos(steps[index], "x"), top: 0 });
    setAt(index);
  };
  const colours = readColours(), step = at === null ? null : steps[at];
  return html`
    <figure class="plot">
      <figcaption>
        <h3>${plot.title}</h3>
      </figcaption>
      <div class="chart" ref=${place} tabindex="0" role="img" onKeyDown=${move} onBlur=${() => setAt(null)}
        aria-label=${`${plot.title} over optimizer steps; the table below has the values. Arrow keys move from step to step.`}></div>
      <table class="legend">
        <thead>
          <tr>
            <th scope="col">curve</th>
            <th scope="col" class="number">${step === null ? "last value" : `at step ${step}`}</th>
          </tr>
        </thead>
        <tbody>${lines.map((line, at) =>
          html`
            <tr key=${line.label}>
              <th scope="row"><${Sample} ...${looks(lines, at, colours)} />${line.label}</th>
              <td class="number">${valueAt(line, step)}</td>
            </tr>
          `
        )}</tbody>
      </table>
    </figure>
  ` as VNode;
}

/** A short piece of a line as the chart draws it. */
function Sample({ colour, dash }: { colour: string; dash: readonly number[] }): VNode {
  return html`
    <svg class="sample" width="40" height="10" aria-hidden="true">
      <line x1="0" y1="5" x2="40" y2="5" stroke=${colour} stroke-width="2.5" stroke-dasharray=${dash.join(" ")} />
    </svg>
  ` as VNode;
}

/** A line's value at a step, or its last one. */
function valueAt({ steps, values }: Line, step: number | null): string {
  const at = step === null ? steps.length - 1 : steps.indexOf(step);
  return at < 0 ? "–" : valueText(values[at]);
}

/** Values by step, with gaps where a line has none; first what is drawn faintly, so that the smoothed lines lie on top. */
function dataOf(
  steps: readonly number[],
  lines: readonly Line[],
  isSmoothed: boolean,
  isFaint: boolean,
): uPlot.AlignedData {
  const place = new Map(steps.map((step, at) => [step, at]));
  const column = (line: Line, values: readonly number[]) => {
    const found: (number | null)[] = steps.map(() => null);
    line.steps.forEach((step, at) => found[place.get(step)!] = values[at]);
    return found;
  };
  const faint = isFaint ? lines.map((line) => column(line, line.values)) : [];
  return [[...steps], ...faint, ...lines.map((line) => column(line, isSmoothed ? line.smooth : line.values))];
}

/** A chart that knows the lines whose names it writes. */
type LabelledChart = uPlot & { endLines?: readonly Line[] };

function optionsOf(
  plot: Plot,
  lines: readonly Line[],
  { isSmoothed, isFaint, width }: { isSmoothed: boolean; isFaint: boolean; width: number },
  setAt: (index: number | null) => void,
): uPlot.Options {
  const colours = readColours();
  // About seven pixels a letter.
  const labels = 16 + 7 * Math.max(...lines.map((line) => endText(line, lines, width).length));
  const series = (line: Line, at: number, isFaint: boolean): uPlot.Series => {
    const { colour, dash } = looks(lines, at, colours);
    return {
      label: line.label,
      stroke: isFaint ? `${colour}55` : colour,
      width: isFaint ? 1 : 2,
      dash: isFaint ? [] : dash.map((length) => length),
      spanGaps: true,
      points: { show: line.steps.length === 1 },
    };
  };
  const axis = {
    stroke: colours.soft,
    grid: { stroke: colours.grid, width: 1 },
    ticks: { stroke: colours.grid, width: 1 },
  };
  return {
    ...{ width, height, padding: [12, labels, 0, 0], legend: { show: false } },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
    scales: {
      x: { time: false },
      y: plot.isLogarithmic ? { distr: 3 } : {},
    },
    axes: [
      {
        ...axis,
        incrs: wholeSteps,
        label: "optimizer step",
        labelSize: 18,
        size: 34,
        font: font(12),
        labelFont: font(12),
      },
      {
        ...{ ...axis, grid: plot.isLogarithmic ? { ...axis.grid, filter: decades } : axis.grid },
        ...{ label: plot.axis, labelSize: 18, size: 62, font: font(12), labelFont: font(12) },
        // Round numbers, of which a few digits are all.
        values: (_, values) => values.map((value) => value === null ? "" : valueText(value, 6)),
      },
    ],
    series: [
      {},
      ...isFaint ? lines.map((line, at) => series(line, at, true)) : [],
      ...lines.map((line, at) => series(line, at, false)),
    ],
    hooks: {
      setCursor: [(chart) => setAt(chart.cursor.idx ?? null)],
      draw: [(chart: LabelledChart) => drawEndLabels(chart, chart.endLines ?? lines, isSmoothed, colours)],
    },
  };
}

/** Leaves the powers of ten. */
function decades(_: uPlot, values: number[]): (number | null)[] {
  return values.map((value) => Number.isInteger(Number(Math.log10(value).toFixed(9))) ? value : null);
}

function font(pixels: number): string {
  return `${pixels}px system-ui, sans-serif`;
}

/** What stands at a line's end: its name, if there is one run, and room. */
function endText({ label, short }: Line, lines: readonly Line[], width: number): string {
  return width < narrow || isSeveral(lines) ? short : label;
}

/** Whether lines are of more than one run. */
function isSeveral(lines: readonly Line[]): boolean {
  return lines.some(({ run }) => run !== lines[0].run);
}

/** Writes each line's name beside its end; names that would lie over one another make room. */
function drawEndLabels(chart: uPlot, lines: readonly Line[], isSmoothed: boolean, colours: Colours): void {
  const { ctx, bbox } = chart, ratio = devicePixelRatio, lineHeight = 15 * ratio;
  const ends = lines.map((line, at) => {
    const value = (isSmoothed ? line.smooth : line.values).at(-1)!;
    return {
      text: endText(line, lines, chart.width),
      colour: looks(lines, at, colours).colour,
      y: chart.valToPos(value, "y", true),
    };
  }).sort((a, b) => a.y - b.y);
  const lowest = bbox.top + bbox.height - lineHeight / 2;
  ends.forEach((end, at) => end.y = Math.max(end.y, at === 0 ? bbox.top : ends[at - 1].y + lineHeight));
  for (let at = ends.length - 1; at >= 0; at--) {
    ends[at].y = Math.min(ends[at].y, at === ends.length - 1 ? lowest : ends[at + 1].y - lineHeight);
  }
  ctx.save();
  ctx.font = `600 ${12 * ratio}px system-ui, sans-serif`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  for (const { text, colour, y } of ends) {
    ctx.fillStyle = colour;
    ctx.fillText(text, bbox.left + bbox.width + 6 * ratio, y);
  }
  ctx.restore();
}
