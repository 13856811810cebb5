import { smooth } from "../../steps/report/smooth.ts";
import type { FigureRow } from "../run_view.ts";

/** A figure that is drawn as a curve, and what it is called. */
interface Figure {
  readonly name: string;
  readonly label: string;
  /** Where there is little room. */
  readonly short: string;
  /** What it is a part of: equal curves of parts of the same become one. */
  readonly whole?: Omit<Figure, "whole" | "name">;
}

/** A group of curves that are drawn into one plot. */
export interface Plot {
  readonly title: string;
  /** What stands at the axis of values. */
  readonly axis: string;
  /** Whether the axis of values is logarithmic. */
  readonly isLogarithmic: boolean;
  /** Whether curves are noisy enough to be smoothed. */
  readonly isNoisy: boolean;
  readonly figures: readonly Figure[];
}

/** All plots, by the figures that training steps tell. */
export const plots: readonly Plot[] = [
  {
    ...{ title: "Loss", axis: "prediction error + terms (no unit)", isLogarithmic: false, isNoisy: true },
    figures: [
      { name: "loss_1", label: "network 1", short: "1" },
      { name: "loss_2", label: "network 2", short: "2" },
    ],
  },
  {
    ...{ title: "Orthogonality terms", axis: "orthogonality term (no unit)", isLogarithmic: true, isNoisy: true },
    figures: [
      { name: "orth_te", label: "text encoder", short: "text" },
      { name: "orth_unet", label: "UNet", short: "UNet" },
    ],
  },
  {
    ...{ title: "Learning rates", axis: "learning rate (no unit)", isLogarithmic: false, isNoisy: false },
    figures: ([1, 2] as const).flatMap((number) => {
      const whole = { label: `network ${number}`, short: `${number}` };
      const part = (name: string, label: string, short: string) => ({
        name: `learning_rate_${name}_${number}`,
        label: `network ${number}, ${label}`,
        short: `${number} ${short}`,
        whole,
      });
      return [part("text_encoder", "text encoder", "text"), part("unet", "UNet", "UNet"), {
        name: `learning_rate_${number}`,
        label: `network ${number}, the optimizer's own`,
        short: `${number} own`,
      }];
    }),
  },
  {
    ...{ title: "Loss of held-out pictures", axis: "prediction error (no unit)", isLogarithmic: false, isNoisy: false },
    figures: ([1, 2] as const).flatMap((number) => [
      { name: `validation_${number}`, label: `network ${number}`, short: `${number}` },
      { name: `validation_stack_${number}`, label: `both, on network ${number}'s`, short: `both ${number}` },
    ]),
  },
];

/** A curve: values over optimizer steps. */
export interface Line {
  readonly label: string;
  /** For the end of the curve, where there is little room. */
  readonly short: string;
  /** Place of the run among those that are laid over one another, from 0. */
  readonly run: number;
  readonly steps: readonly number[];
  readonly values: readonly number[];
  /** `values`, smoothed. */
  readonly smooth: readonly number[];
}

/** A run whose curves are drawn. */
export interface DrawnRun {
  readonly name: string;
  /** A letter, where there are several runs; empty for one alone. */
  readonly letter: string;
  readonly rows: readonly FigureRow[];
}

/**
 * The curves of a plot, those of each run behind one another.
 *
 * @param window Steps that a value is averaged over, odd; 1 for none.
 */
export function linesOf({ figures, isNoisy, isLogarithmic }: Plot, runs: readonly DrawnRun[], window: number): Line[] {
  return runs.flatMap(({ letter, name, rows }, run) => {
    const found: { figure: Omit<Figure, "name">; steps: number[]; values: number[] }[] = [];
    for (const figure of figures) {
      const points = rows.flatMap((row) => {
        const value = row[figure.name];
        const isDrawn = typeof value === "number" && Number.isFinite(value) && (!isLogarithmic || value > 0);
        return isDrawn ? [{ step: row.step!, value }] : [];
      });
      if (points.length === 0) continue;
      const steps = points.map(({ step }) => step), values = points.map(({ value }) => value), before = found.at(-1);
      const isOne = figure.whole && before?.figure.whole === figure.whole && isSame(before.steps, steps) &&
        isSame(before.values, values);
      if (isOne) before.figure = figure.whole!;
      else found.push({ figure, steps, values });
    }
    return found.map(({ figure: { label, short }, steps, values }) => ({
      label: letter === "" ? label : `${letter} ${name}: ${label}`,
      short: letter === "" ? short : `${letter} ${short}`,
      ...{ run, steps, values, smooth: isNoisy ? smooth(values, window) : values },
    }));
  });
}

function isSame(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((value, at) => value === b[at]);
}

/** Dash patterns, in pixels of a screen: every curve of a plot has another one, as far as they go. */
export const dashes: readonly (readonly number[])[] = [
  [],
  [8, 4],
  [2, 3],
  [10, 3, 2, 3],
  [16, 5],
  [5, 2, 5, 7],
  [2, 7],
  [14, 3, 2, 3, 2, 3],
];

/** A number as short as it can be read: `0.0123`, `1.2e-5`. */
export function valueText(value: number, digits = 3): string {
  if (value === 0) return "0";
  const short = Number(value.toPrecision(digits)), size = Math.abs(short);
  return size >= 0.001 && size < 10_000 ? `${short}` : short.toExponential();
}
