import { parse } from "opentype.js/dist/opentype.mjs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
const url = import.meta.resolve("@fontsource/lato/files/lato-latin-400-normal.woff");
console.log(url);
const b = await readFile(fileURLToPath(url));
const f = parse(b.buffer.slice(b.byteOffset, b.byteOffset + b.byteLength));
console.log(f.unitsPerEm, f.ascender, f.descender, f.getAdvanceWidth("AVATo 0.52 − ₀ · ×", 20), f.getAdvanceWidth("0",20),f.getAdvanceWidth("1",20));
console.log(f.getPath("−·×–…≥ø₀→", 0, 20, 20).toPathData(2).length, [..."−·×–…≥ø₀→é"].map(c => f.charToGlyphIndex(c)));
