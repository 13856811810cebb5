import { equal, match, ok } from "node:assert/strict";
import { retentionPlot } from "./retention_plot.ts";

const stack = {
  name: "stack",
  identityKept: 0.5,
  identityHalf: 0.25,
  outfitTaken: null,
  outfitHalf: null,
  pictures: 4,
};

Deno.test("retentionPlot() has a bar with its interval for each figure, and a dash where there is none", async () => {
  const { svg, caption } = (await retentionPlot([stack]))!;
  match(svg, />0\.50 ± 0\.25<\/text>/);
  match(svg, />stack: outfit taken<\/text>/);
  match(svg, />–<\/text>/);
  equal(svg.match(/aria-roledescription="bar"/g)?.length, 1);
  match(caption, /A dash: .*E₀ is 0/);
});

Deno.test("retentionPlot() keeps its axis where nothing could be divided, and is not there where nothing was measured", async () => {
  const { svg } = (await retentionPlot([{ ...stack, identityKept: null, identityHalf: null }]))!;
  equal(svg.match(/>–<\/text>/g)?.length, 2);
  match(svg, />1\.0<\/text>/);
  ok(await retentionPlot([{ ...stack, pictures: 0 }]) === undefined);
  ok(await retentionPlot([]) === undefined);
});
