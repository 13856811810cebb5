import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import { exampleReport } from "./example_report.ts";
import { logTicks, reportPlots } from "./plots.ts";
import type { ReportTraining } from "./report.ts";

/** Points of an SVG's lines, in the order drawn. */
function lines(svg: string): { dash: string; points: [number, number][] }[] {
  return [...svg.matchAll(/<path [^>]*aria-roledescription="line mark"[^>]*>/g)].map(([path]) => ({
    dash: path.match(/stroke-dasharray="([^"]*)"/)?.[1] ?? "",
    points: path.match(/ d="([^"]*)"/)![1].split(/[ML]/).slice(1).map((point) => {
      const [x, y] = point.split(",").map(Number);
      return [x, y];
    }),
  }));
}

function run(name: string, values: Record<string, number>[]): ReportTraining {
  return { name, network: 2, orthogonality: true, steps: values.map((values, step) => ({ step, epoch: 0, values })) };
}

Deno.test("reportPlots() gives loss, both terms and seconds, with units and steps on their axes", async () => {
  const plots = await reportPlots(exampleReport);
  deepEqual(plots.map(({ title }) => title), [
    "Loss",
    "Orthogonality term of the text encoder",
    "Orthogonality term of the UNet",
    "Time per stage",
  ]);
  for (const { svg } of plots.slice(0, 3)) match(svg, />optimizer step</);
  match(plots[0].svg, />prediction error \+ terms \(no unit\)</);
  match(plots[1].svg, />orthogonality term \(no unit\)</);
  match(plots[3].svg, />time \(seconds\)</);
  for (const { name } of exampleReport.stages) ok(plots[3].svg.includes(`>${name}<`), name);
});

Deno.test("reportPlots() draws a run with the same colour and dashes everywhere, and no two alike", async () => {
  const [loss, text, unet] = await reportPlots(exampleReport);
  equal(new Set(loss.legend.map(({ colour }) => colour)).size, 3);
  equal(new Set(loss.legend.map(({ dash }) => dash.join())).size, 3);
  deepEqual(text.legend, loss.legend.slice(1));
  deepEqual(unet.legend, text.legend);
  deepEqual(lines(loss.svg).map(({ dash }) => dash), loss.legend.map(({ dash }) => dash.join(",")));
});

Deno.test("reportPlots() draws eight runs with dashes of their own, so that no colour is needed", async () => {
  const training = Array.from({ length: 8 }, (_, at) => run(`run ${at}`, [{ loss_2: 1 }, { loss_2: 0.5 }]));
  const [{ legend }] = await reportPlots({ training, stages: [] });
  equal(new Set(legend.map(({ dash }) => dash.join())).size, 8);
});

Deno.test("reportPlots() draws a term once that two networks share, over all of its steps", async () => {
  const terms = [{ orth_te: 1 }, { orth_te: 0.5 }, { orth_te: 0.25 }], two = run("network 2", terms);
  const one: ReportTraining = { ...run("network 1", terms), network: 1, steps: two.steps.slice(1) };
  const other: ReportTraining = { ...run("other", terms.with(1, { orth_te: 0.75 })), network: 1 };
  const [{ legend, svg }] = await reportPlots({ training: [one, two, other], stages: [] });
  deepEqual(legend.map(({ name }) => name), ["network 2", "other"]);
  deepEqual(lines(svg).map(({ points }) => points.length), [3, 3]);
});

Deno.test("reportPlots() places a term by its logarithm, the first step at 1", async () => {
  const values = [1, 1e-2, 1e-4].map((term) => ({ orth_te: term }));
  const [{ svg }] = await reportPlots({ training: [run("with", values)], stages: [] });
  const [{ points: [first, second, third] }] = lines(svg);
  // Ticks 1e-4 … 1 over 220 pixels downwards; steps 1, 2, 3 of an axis 0 … 3 over 300.
  deepEqual([first, second, third].map((point) => point.map(Math.round)), [[100, 0], [200, 110], [300, 220]]);
});

Deno.test("reportPlots() leaves out zeros and NaN on a logarithmic axis and says so, and plots without values", async () => {
  const plots = await reportPlots({
    training: [run("with", [{ orth_te: 0 }, { orth_te: 0.5 }, { orth_te: 0 }, { orth_te: NaN }])],
    stages: [],
  });
  equal(plots.length, 1);
  match(plots[0].caption, /since they are 0 or not finite: 3 values/);
  doesNotMatch(plots[0].svg, /NaN|Infinity/);
  deepEqual(await reportPlots({ training: [], stages: [] }), []);
});

Deno.test("logTicks() enclose all values", () => {
  deepEqual(logTicks([0.1, 1]), [0.1, 0.2, 0.5, 1, 2]);
  deepEqual(logTicks([3]), [2, 5]);
  deepEqual(logTicks([5e-9, 0.92]), [1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1]);
  for (const values of [[1], [0.9, 1.1], [1e-7, 1e-5], [2e-30, 4e12], [7e-3, 9e-3], [1e-320, 1]]) {
    const ticks = logTicks(values);
    ok(ticks[0] <= Math.min(...values) && ticks.at(-1)! >= Math.max(...values), `${values}: ${ticks}`);
    ok(ticks.length >= 2 && ticks.length <= 9, `${values}: ${ticks}`);
  }
});
