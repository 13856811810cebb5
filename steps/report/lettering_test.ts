import { deepEqual, equal, match, ok } from "node:assert/strict";
import { Lettering } from "./lettering.ts";

const lettering = await Lettering.load();
const style = { size: 20, weight: "regular" } as const;

/** Smallest and largest x of a path's points. */
function extent(path: string): [number, number] {
  const data = path.match(/ d="([^"]*)"/)![1];
  const numbers = [...data.matchAll(/-?\d*\.?\d+/g)].map(Number);
  const xs = numbers.filter((_, index) => index % 2 === 0);
  return [Math.min(...xs), Math.max(...xs)];
}

Deno.test("width() gives a digit 0.58 em, as Lato has it, and grows with size, text and weight", () => {
  // Lato Regular: 2000 units per em, every digit 1160 wide.
  equal(lettering.width("0", style).toFixed(3), "11.600");
  equal(lettering.width("27", style).toFixed(3), "23.200");
  equal(lettering.width("0", { ...style, size: 40 }).toFixed(3), "23.200");
  ok(lettering.width("Stack", { size: 20, weight: "bold" }) > lettering.width("Stack", style));
});

Deno.test("path() draws outlines at its place, for every anchor, without any text element", () => {
  const width = lettering.width("HH", style);
  for (const [anchor, start] of [["start", 100], ["middle", 100 - width / 2], ["end", 100 - width]] as const) {
    const path = lettering.path("HH", { ...style, x: 100, baseline: 50, anchor, fill: "#111" });
    match(path, /^<path fill="#111" d="M[^"]+"\/>$/);
    const [left, right] = extent(path);
    // An H has white space of less than a tenth of an em on either side.
    ok(left > start && left < start + 2 && right > start + width - 2 && right < start + width, `${anchor}: ${path}`);
  }
});

Deno.test("path() is made of numbers even where a coordinate is next to nothing", () => {
  // The baseline cancels a point's height but for a rounding error, which is then written with an exponent.
  for (let step = 0; step < 200; step++) {
    const path = lettering.path("A character, Sky blue: 0.52", {
      ...style,
      x: step / 7,
      baseline: step * 0.07,
      fill: "#111",
    });
    match(path, / d="[MLQCZ 0-9.-]+"/);
  }
});

Deno.test("wrap() breaks at spaces only where a line would be too wide", () => {
  const wide = lettering.width("stack without", style);
  deepEqual(lettering.wrap("stack without orthogonality", wide, style), ["stack without", "orthogonality"]);
  deepEqual(lettering.wrap("stack without orthogonality", wide - 1, style), ["stack", "without", "orthogonality"]);
  deepEqual(lettering.wrap("stack without orthogonality", 1000, style), ["stack without orthogonality"]);
  deepEqual(lettering.wrap("", 100, style), []);
});
