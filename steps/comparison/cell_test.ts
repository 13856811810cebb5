import { deepEqual, equal } from "node:assert/strict";
import { retentionOf } from "../measure_retention.ts";
import type { RegionCell, Regions } from "../report/regions.ts";
import type { SampleSheet } from "../values/sample_sheet.ts";
import { cellFigures } from "./cell.ts";
import { columns } from "./recipes.ts";

const white: RegionCell = { row: 0, column: 0, rgb: [255, 255, 255] };
const regions: Regions = { character: [white], outfit: [{ ...white, row: 1 }] };

/**
 * All columns of a comparison, of two pictures with one prompt.
 *
 * @param base Grey of the base's two pictures in the character's cell; in the outfit's it is black, and the networks' pictures have a grey of 204 everywhere.
 */
function sheetOf(base: readonly [number, number]): SampleSheet {
  const picture = (character: number, outfit: number) => {
    const pixels = new Uint8Array(16 * 16 * 3);
    pixels.fill(character, 0, 3);
    pixels.fill(outfit, 16 * 3, 16 * 3 + 3);
    return { prompt: "p", seed: 1, width: 16, height: 16, pixels };
  };
  const column = (name: string, networks: readonly string[], greys: readonly (readonly [number, number])[]) => ({
    ...{ name, prompt: "p", networks, pictures: greys.map(([character, outfit]) => picture(character, outfit)) },
  });
  const { base1, one, two, stack } = columns, made = [[204, 204], [204, 204]] as const;
  return {
    columns: [
      column(base1, [], base.map((grey) => [grey, 0] as const)),
      ...([[one, ["network1"]], [two, ["network2"]], [stack, ["network1", "network2"]]] as const)
        .map(([name, networks]) => column(name, networks, made)),
    ],
  };
}

const asking = { identity: [columns.one, columns.stack], outfit: [columns.two, columns.stack] };
const additivity = { error: 0.5, interaction: 1, change1: 1, change2: 1, samples: 4 };

Deno.test("retention is null, without an interval, where the base's pictures have the very colours", () => {
  const [one, stack] = retentionOf(sheetOf([255, 255]), regions, asking);
  for (const { identityKept, identityHalf } of [one, stack]) deepEqual([identityKept, identityHalf], [null, null]);
  // 1 − (51 / 255) / 1, the same without either picture.
  deepEqual([stack.outfitTaken, stack.outfitHalf].map((value) => value!.toFixed(9)), ["0.800000000", "0.000000000"]);
});

Deno.test("retention has no interval where the base's other pictures alone have the very colours", () => {
  const [{ identityKept, identityHalf }] = retentionOf(sheetOf([255, 0]), regions, asking);
  // 1 − (51 + 51) / (0 + 255); without the second picture there is nothing to divide by.
  equal(identityKept!.toFixed(9), "0.600000000");
  equal(identityHalf, null);
});

Deno.test("cellFigures() leaves out what has nothing to be divided by, and keeps the rest", () => {
  const figures = cellFigures(sheetOf([255, 255]), regions, additivity, []);
  deepEqual(Object.keys(figures), [
    ...["outfit_alone", "outfit_stack", "outfit_share", "additivity", "change_1", "change_2"],
  ]);
  equal(figures.outfit_share, 1);
});
