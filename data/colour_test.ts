import { deepEqual, equal, ok } from "node:assert/strict";
import { RandomStream } from "../random/philox.ts";
import { changeColour, drawColour } from "./colour.ts";

function changed(pixel: [number, number, number], change: Parameters<typeof changeColour>[1]): number[] {
  return [...changeColour({ width: 1, height: 1, pixels: new Uint8Array(pixel) }, change).pixels];
}

Deno.test("drawColour() changes a third of the samples, hue by up to 16 degrees or gamma by up to 0.05", () => {
  const drawn = Array.from({ length: 6000 }, (_, step) => drawColour(new RandomStream({ seed: 2, stream: 0, step })));
  const hues = drawn.flatMap((change) => change && "hueDegrees" in change ? [change.hueDegrees] : []);
  const gammas = drawn.flatMap((change) => change && "gamma" in change ? [change.gamma] : []);
  // 0.33 / 2 of 6000 each: 990 with a deviation of 29.
  for (const found of [hues, gammas]) ok(Math.abs(found.length - 990) < 144, `${found.length}`);
  // Even over the range: the ends are nearly reached, the mean is the middle within five deviations.
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  ok(Math.min(...hues) >= -16 && Math.min(...hues) < -15.5 && Math.max(...hues) <= 16 && Math.max(...hues) > 15.5);
  ok(Math.abs(mean(hues)) < 5 * 9.24 / Math.sqrt(hues.length), `${mean(hues)}`);
  ok(Math.min(...gammas) >= 0.95 && Math.max(...gammas) <= 1.05);
  ok(Math.abs(mean(gammas) - 1) < 5 * 0.029 / Math.sqrt(gammas.length), `${mean(gammas)}`);
});

Deno.test("changeColour() turns hue and keeps saturation, value and grey", () => {
  // HSV by hand: red at 0°, yellow at 60°, green at 120°.
  deepEqual(changed([255, 0, 0], { hueDegrees: 120 }), [0, 255, 0]);
  deepEqual(changed([255, 0, 0], { hueDegrees: -60 }), [255, 0, 255]);
  // 16 degrees are 16 / 60 of the way to yellow: 68 of 255.
  deepEqual(changed([255, 0, 0], { hueDegrees: 16 }), [255, 68, 0]);
  deepEqual(changed([200, 100, 100], { hueDegrees: 30 }), [200, 150, 100]);
  deepEqual(changed([10, 30, 250], { hueDegrees: 0 }), [10, 30, 250]);
  deepEqual(changed([77, 77, 77], { hueDegrees: 13 }), [77, 77, 77]);
  deepEqual(changed([20, 60, 40], { hueDegrees: 360 }), [20, 60, 40]);
});

Deno.test("changeColour() raises brightness to a power, rounding down as OpenCV's table does", () => {
  // 255 · (128 / 255)^0.95 = 132.49, ^1.05 = 123.66; black and white stay.
  deepEqual(changed([0, 128, 255], { gamma: 0.95 }), [0, 132, 255]);
  deepEqual(changed([0, 128, 255], { gamma: 1.05 }), [0, 123, 255]);
  const all = Uint8Array.from({ length: 255 }, (_, at) => at);
  equal(changeColour({ width: 85, height: 1, pixels: all }, { gamma: 1 }).pixels.join(), all.join());
});
