import { deepEqual, equal } from "node:assert/strict";
import { dashes, linesOf, plots, valueText } from "./curve_lines.ts";

const [loss, terms, rates] = plots;
const run = (rows: Record<string, number | null>[], letter = "") => ({ name: "a/run", letter, rows });

Deno.test("equal rates of both parts of a network are one curve; those of two networks are two", () => {
  const rows = [1, 2].map((step) => ({
    ...{ step, learning_rate_text_encoder_1: 0.1 * step, learning_rate_unet_1: 0.1 * step },
    ...{ learning_rate_text_encoder_2: 0.1 * step, learning_rate_unet_2: 0.2 * step },
  }));
  deepEqual(linesOf(rates, [run(rows)], 1).map(({ label }) => label), [
    "network 1",
    "network 2, text encoder",
    "network 2, UNet",
  ]);
});

Deno.test("every plot's axis says what its values are, and that they have no unit", () => {
  deepEqual(plots.map(({ axis }) => axis), [
    "prediction error + terms (no unit)",
    "orthogonality term (no unit)",
    "learning rate (no unit)",
    "prediction error (no unit)",
  ]);
});

Deno.test("steps without a figure, and what a logarithmic axis cannot show, leave a curve out there", () => {
  const rows = [{ step: 1, loss_1: 0.5, orth_te: 0 }, { step: 2, loss_1: null, orth_te: 1 }, {
    step: 3,
    loss_1: 0.25,
    orth_te: null,
  }];
  const [{ steps, values }] = linesOf(loss, [run(rows)], 1);
  deepEqual([steps, values], [[1, 3], [0.5, 0.25]]);
  deepEqual(linesOf(terms, [run(rows)], 1).map(({ steps }) => steps), [[2]]);
});

Deno.test("curves of several runs have the run's letter and name; smoothing is a mean around each step", () => {
  const rows = [0, 3, 6].map((loss_2, at) => ({ step: at + 1, loss_2 }));
  const lines = linesOf(loss, [run(rows, "A"), run(rows, "B")], 3);
  deepEqual(lines.map(({ label, short, run }) => [label, short, run]), [
    ["A a/run: network 2", "A 2", 0],
    ["B a/run: network 2", "B 2", 1],
  ]);
  deepEqual(lines[0].smooth, [1.5, 3, 4.5]);
});

Deno.test("numbers are as short as their digits let them be", () => {
  deepEqual([0, 0.01234, 123.4, 0.000012345, 12345].map((value) => valueText(value)), [
    "0",
    "0.0123",
    "123",
    "1.23e-5",
    "1.23e+4",
  ]);
  deepEqual([0.0175, 0.015, 0.000995, 1e-10, 0.1 + 0.2].map((value) => valueText(value, 6)), [
    "0.0175",
    "0.015",
    "9.95e-4",
    "1e-10",
    "0.3",
  ]);
});

Deno.test("the first eight curves of a plot differ in their dashes", () => {
  equal(new Set(dashes.map((dash) => dash.join())).size, 8);
});
