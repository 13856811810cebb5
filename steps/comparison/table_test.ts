import { deepEqual, equal, ok } from "node:assert/strict";
import type { Cell } from "./cell.ts";
import { comparisonPlots } from "./plots.ts";
import { comparisonRows, tableText } from "./table.ts";

const variants = [{ name: "sequential" }, { name: "new" }, { name: "few" }, { name: "not begun" }];

function cell(variant: string, seed: number, figures: Record<string, number>): Cell {
  return { variant, seed, settings: "", figures, seconds: 1 };
}

const cells = [
  cell("sequential", 2, { identity_stack: 0.5, outfit_stack: 0.5, additivity: 0.2, loss_2: 0.01 }),
  cell("sequential", 1, { identity_stack: 0.3, outfit_stack: 0.5, additivity: 0.1, loss_2: 0.01 }),
  cell("sequential", 3, { identity_stack: 0.4, outfit_stack: 0.5, additivity: 0.3, loss_2: 0.01 }),
  cell("new", 1, { identity_stack: 0.4, outfit_stack: 0.5, additivity: 0.2, orth_te: 2e-7 }),
  cell("new", 2, { identity_stack: 0.7, outfit_stack: 0.5, additivity: 0.4, orth_te: 4e-7 }),
  cell("new", 3, { identity_stack: 0.7, outfit_stack: 0.5, additivity: 0.3, orth_te: 3e-7 }),
  cell("few", 1, { identity_stack: 0.2, outfit_stack: 0.5, additivity: 0.3 }),
  cell("few", 4, { identity_stack: 0.3, outfit_stack: 0.5, additivity: 0.3 }),
];

Deno.test("comparisonRows() pairs a variant's seeds with the baseline's, whatever their order", () => {
  const [first, second, few, ...others] = comparisonRows(variants, cells);
  deepEqual(others, []);
  deepEqual(first.seeds, [1, 2, 3]);
  equal(first.figures.identity_stack.test, undefined);
  ok(Math.abs(first.figures.identity_stack.mean - 0.4) < 1e-12);
  deepEqual(first.figures.identity_stack.values, [0.3, 0.5, 0.4]);
  deepEqual(second.seeds, [1, 2, 3]);
  // 0.4 − 0.3, 0.7 − 0.5 and 0.7 − 0.4.
  const { test } = second.figures.identity_stack;
  ok(Math.abs(test!.mean - 0.2) < 1e-12);
  equal(test!.count, 3);
  // Seed 4 has no partner.
  equal(few.figures.identity_stack.test!.count, 1);
  // What training says is told, not tested.
  equal(second.figures.orth_te.test, undefined);
});

Deno.test("tableText() shows mean ± half of the interval, and the difference to the baseline with its p", () => {
  const text = tableText(comparisonRows(variants, cells)), lines = text.split("\n");
  // Means 0.4 ± 4.303 · 0.1 / √3; differences 0.1, 0.2 and 0.3: t = 3.4641 at 2 degrees, p = 1 − t / √(2 + t²).
  equal(lines[0], "| variant | seeds | identity kept in the stack | outfit taken in the stack | additivity error |");
  ok(lines[2].startsWith("| sequential | 3 | 0.400 ± 0.248 | 0.500 ± 0.000 | 0.200 ± 0.248 |"), lines[2]);
  ok(lines[3].startsWith("| new | 3 | 0.600 ± 0.430 (+0.200, p 0.074) | 0.500 ± 0.000 (+0.000, p 1.000) |"), lines[3]);
  // Two seeds have a mean, and one pair a difference.
  ok(lines[4].startsWith("| few | 2 | 0.250 (−0.100) | 0.500 (+0.000) |"), lines[4]);
  ok(text.includes("| new |  | 3.0e-7 |"), text);
});

Deno.test("tableText() keeps figures that are too small for three places", () => {
  const small = [cell("sequential", 1, { additivity: 6.56e-6 }), cell("new", 1, { additivity: 6.29e-6 })];
  const [, , first, second] = tableText(comparisonRows(variants, small)).split("\n");
  equal(first, "| sequential | 1 | 6.6e-6 |");
  equal(second, "| new | 1 | 6.3e-6 (−2.7e-7) |");
});

Deno.test("tableText() has what each network changes beside what it is judged by", () => {
  const quiet = [cell("sequential", 1, { additivity: 0.1, change_1: 0.25, change_2: 0.0625 })];
  const [, second] = tableText(comparisonRows(variants, quiet)).split("\n\n");
  const lines = [
    "| variant | mean square of 1's change | mean square of 2's change |",
    "| sequential | 0.250 | 0.0625 |",
  ];
  for (const line of lines) ok(second.split("\n").includes(line), second);
});

Deno.test("comparisonPlots() draws a plot for each figure that there is", async () => {
  const plots = await comparisonPlots(comparisonRows(variants, cells));
  deepEqual(plots.map(({ name }) => name), ["identity_stack", "outfit_stack", "additivity"]);
  for (const { svg } of plots) {
    ok(svg.startsWith("<svg"));
    for (const text of ["sequential (3)", "new (3)", "few (2)", "95 % interval"]) ok(svg.includes(text), text);
  }
});

/** Centres of an SVG's triangles, each as it lies in its row. */
function arrows(svg: string): string[] {
  return [...svg.matchAll(/aria-label="([^"]*)"[^>]*aria-roledescription="point"[^>]* d="([^"]*)"/g)]
    .flatMap(([, label, outline]) => outline.includes("A") ? [] : [label]);
}

Deno.test("comparisonPlots() marks where an interval goes on behind the axis' end", async () => {
  const [identity, , additivity] = await comparisonPlots(comparisonRows(variants, cells));
  // Seeds from 0.2 to 0.7, so an axis from 0.17 to 0.73. Means ± t₀.₉₇₅(2) · s / √3: 0.4 ± 0.248 and 0.6 ± 0.430.
  const ends = (svg: string) =>
    arrows(svg).map((label) => label.replace(/^.*?: (0\.\d{2})\d*;? ?.*variant.*: (.*)$/, "$2 $1"));
  deepEqual(ends(identity.svg), ["sequential (3) 0.17", "new (3) 0.17", "new (3) 0.73"]);
  ok(identity.svg.includes("an arrow where it goes on"));
  ok(identity.svg.includes("share: 1 all, 0 as the base"));
  ok(identity.svg.includes("dashed: mean of “sequential”"));
  // 0.2 ± 0.248 and 0.3 ± 0.248 behind seeds from 0.1 to 0.4.
  equal(arrows(additivity.svg).length, 4);
  // Two seeds have no interval.
  const [plot] = await comparisonPlots(comparisonRows([{ name: "few" }], cells));
  deepEqual(arrows(plot.svg), []);
  ok(!plot.svg.includes("arrow"));
});

Deno.test("comparisonPlots() draws the baseline's mean alone as the line through all", async () => {
  const without = cells.filter(({ variant }) => variant !== "sequential");
  const bare = cell("sequential", 1, { additivity: 0.1 });
  const [identity] = await comparisonPlots(comparisonRows(variants, [bare, ...without]));
  ok(!identity.svg.includes("dashed"));
});
