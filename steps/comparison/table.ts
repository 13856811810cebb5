import { markdownTable } from "../report/markdown_table.ts";
import type { Cell } from "./cell.ts";
import { type MeanInterval, meanInterval, type PairedTest, pairedTest } from "./statistics.ts";
import type { Variant } from "./variant.ts";

/** One figure of a variant over its seeds. */
export interface RowFigure extends MeanInterval {
  /** Of each seed, in the seeds' order. */
  readonly values: readonly number[];
  /** Against the baseline, over the seeds that both have; absent for the baseline itself and where they have none in common. */
  readonly test?: PairedTest;
}

/** One variant of the table. */
export interface ComparisonRow {
  readonly variant: string;
  readonly seeds: readonly number[];
  readonly figures: Readonly<Record<string, RowFigure>>;
}

/** The figures that variants are judged by, in the table's order. */
export const judged = {
  identity_stack: "identity kept in the stack",
  outfit_stack: "outfit taken in the stack",
  identity_alone: "identity kept alone",
  outfit_alone: "outfit taken alone",
  additivity: "additivity error",
} as const;

/** What each network changes of a prediction, and what the training's end says; not tested. */
const told = {
  change_1: "mean square of 1's change",
  change_2: "mean square of 2's change",
  loss_2: "loss of network 2",
  orth_te: "text term",
  orth_unet: "UNet term",
  orth_hooks: "term of all hooks",
  orth_down: "‖A₁A₂ᵀ‖²",
  orth_up: "‖B₁ᵀB₂‖²",
  stack_own: "stack on network 2's data",
  stack_other: "stack on network 1's data",
} as const;

/** Means, intervals and tests of all variants that have cells, in the variants' order; the first variant is the baseline. */
export function comparisonRows(variants: readonly Pick<Variant, "name">[], cells: readonly Cell[]): ComparisonRow[] {
  const of = (name: string) => cells.filter(({ variant }) => variant === name).toSorted((a, b) => a.seed - b.seed);
  const baseline = of(variants[0].name);
  return variants.flatMap(({ name }, at) => {
    const own = of(name);
    if (own.length === 0) return [];
    const names = Object.keys(own[0].figures).filter((figure) => own.every(({ figures }) => figure in figures));
    const figures = Object.fromEntries(names.map((figure): [string, RowFigure] => {
      const pairs = own.flatMap(({ seed, figures }) => {
        const before = baseline.find((cell) => cell.seed === seed)?.figures[figure];
        return before === undefined ? [] : [[figures[figure], before] as const];
      });
      const values = own.map(({ figures }) => figures[figure]),
        isTested = at > 0 && pairs.length > 0 && figure in judged;
      return [figure, {
        ...meanInterval(values),
        values,
        ...(isTested ? { test: pairedTest(pairs.map(([after]) => after), pairs.map(([, before]) => before)) } : {}),
      }];
    }));
    return [{ variant: name, seeds: own.map(({ seed }) => seed), figures }];
  });
}

/** Seeds from which on an interval and a p say something: with two, Student's t has one degree of freedom, and nearly everything is within 12.7 deviations. */
export const enoughSeeds = 3;

/** The table in Markdown: `mean ± half of the 95 % interval`, then the mean difference to the baseline with its p; of too few seeds the means alone. */
export function tableText(rows: readonly ComparisonRow[]): string {
  const has = (name: string) => rows.some(({ figures }) => name in figures);
  const tested = Object.entries(judged).filter(([name]) => has(name));
  const others = Object.entries(told).filter(([name]) => has(name));
  const header = ["variant", "seeds", ...tested.map(([, label]) => label)];
  return [
    markdownTable(
      header,
      rows.map(({ variant, seeds, figures }) => [
        variant,
        `${seeds.length}`,
        ...tested.map(([name]) => figures[name] ? figureText(figures[name]) : ""),
      ]),
    ),
    markdownTable(
      ["variant", ...others.map(([, label]) => label)],
      rows.map(({ variant, figures }) => [
        variant,
        ...others.map(([name]) => figures[name] ? shortText(figures[name].mean) : ""),
      ]),
    ),
  ].join("\n\n");
}

function figureText({ mean, half, count, test }: RowFigure): string {
  const interval = count < enoughSeeds ? fixedText(mean) : `${fixedText(mean)} ± ${fixedText(half)}`;
  if (!test) return interval;
  const change = `${test.mean < 0 ? "−" : "+"}${fixedText(Math.abs(test.mean))}`;
  return `${interval} (${change}${test.count < enoughSeeds ? "" : `, p ${pText(test.p)}`})`;
}

/** Three places, or two figures where they would all be zeros. */
function fixedText(value: number): string {
  return value !== 0 && Math.abs(value) < 0.0005 ? value.toExponential(1) : value.toFixed(3);
}

function pText(p: number): string {
  return p < 0.001 ? "< 0.001" : p.toFixed(3);
}

function shortText(value: number): string {
  return Math.abs(value) < 0.001 && value !== 0 ? value.toExponential(1) : value.toPrecision(3);
}
