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

Deno.test("comparisonPlots() draws a plot for each figure that there is", async () => {
  const plots = await comparisonPlots(comparisonRows(variants, cells));
  deepEqual(plots.map(({ name }) => name), ["identity_stack", "outfit_stack", "additivity"]);
  for (const { svg } of plots) {
    ok(svg.startsWith("<svg"));
    for (const text of ["sequential (3)", "new (3)", "few (2)", "95 % interval"]) ok(svg.includes(text), text);
  }
});
