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
  const wide = lettering.width("stack without loss", style);
  deepEqual(lettering.wrap("stack without loss terms", wide, style), ["stack without loss", "terms"]);
  deepEqual(lettering.wrap("stack without loss terms", wide - 1, style), ["stack without", "loss terms"]);
  deepEqual(lettering.wrap("stack without loss terms", 1000, style), ["stack without loss terms"]);
  deepEqual(lettering.wrap("", 100, style), []);
});

Deno.test("wrap() breaks what has no spaces between letters, and loses none: Japanese, tags with commas", () => {
  // Every digit is 11.6 wide.
  deepEqual(lettering.wrap("a 0123456789 b", 35, style), ["a", "012", "345", "678", "9 b"]);
  deepEqual(lettering.wrap("00", 1, style), ["0", "0"]);
  for (
    const text of [
      "初音ミクが公園のベンチに座って本を読んでいる",
      "1girl,solo,blue_hair,twintails,park",
      "😀😀😀😀😀😀😀😀",
    ]
  ) {
    const lines = lettering.wrap(text, 60, style);
    ok(lines.length > 1 && lines.every((line) => lettering.width(line, style) <= 60), text);
    equal(lines.join(""), text);
  }
});

Deno.test("path() draws a box for each letter that the typeface lacks, and an accent behind its letter as the letter with it", () => {
  const path = (text: string) => lettering.path(text, { ...style, x: 0, baseline: 20, fill: "#111" });
  // Lato has none of these, so all are its glyph for what is missing: the same outline, with ink, as wide as a letter.
  for (const letter of ["初", "П", "😀"]) equal(path(letter), path("λ"));
  const [left, right] = extent(path("λ"));
  ok(right - left > 5, `${left} to ${right}`);
  equal(lettering.width("初音ミク", style).toFixed(3), (4 * lettering.width("λ", style)).toFixed(3));
  equal(path("cafe\u0301"), path("café"));
  equal(lettering.width("cafe\u0301", style), lettering.width("café", style));
  deepEqual(lettering.wrap("cafe\u0301", 1, style), ["c", "a", "f", "é"]);
});
