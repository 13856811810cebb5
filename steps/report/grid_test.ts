import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import type { RgbImage } from "../../data/image.ts";
import { drawGrid, type GridOptions } from "./grid.ts";

/** A picture of one colour but for a pixel of its own in the top left corner. */
function picture(rgb: number[], corner: number[], width = 32, height = 16): RgbImage {
  const pixels = Uint8Array.from({ length: width * height * 3 }, (_, index) => rgb[index % 3]);
  pixels.set(corner);
  return { width, height, pixels };
}

const colours = [[[200, 0, 0], [0, 200, 0]], [[0, 0, 200], [200, 200, 0]], [[0, 200, 200], [200, 0, 200]]];
const plain: GridOptions = {
  columns: [{ label: "Base" }, { label: "Stack", sublabel: "sks person" }],
  rows: [{ label: "White" }, { label: "Pink" }, { label: "Sky" }],
  cells: colours.map((row) => row.map((rgb) => picture(rgb, [1, 2, 3]))),
};

async function decode(png: Uint8Array) {
  const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true });
  equal(info.channels, 3);
  return {
    width: info.width,
    height: info.height,
    at: (x: number, y: number) => [...data.subarray((y * info.width + x) * 3, (y * info.width + x) * 3 + 3)],
  };
}

/** Places of all pixels of a colour. */
async function find(png: Uint8Array, rgb: number[]): Promise<[number, number][]> {
  const image = await decode(png), found: [number, number][] = [];
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < image.width; x++) {
      if (image.at(x, y).every((part, index) => part === rgb[index])) found.push([x, y]);
    }
  }
  return found;
}

/** Pixels of letters: no picture of these tests is that dark in all channels but at its corner, and frames are lighter. */
async function countInk(png: Uint8Array): Promise<number> {
  const image = await decode(png);
  let count = 0;
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < image.width; x++) if (image.at(x, y).every((part) => part < 190)) count++;
  }
  return count;
}

Deno.test("drawGrid() puts every picture, byte for byte, into its row and column", async () => {
  const png = await drawGrid(plain), image = await decode(png);
  const corners = await find(png, [1, 2, 3]);
  equal(corners.length, 6);
  const xs = [...new Set(corners.map(([x]) => x))], ys = [...new Set(corners.map(([, y]) => y))];
  deepEqual([xs.length, ys.length], [2, 3]);
  for (const [row, y] of ys.entries()) {
    for (const [column, x] of xs.entries()) {
      for (let down = 0; down < 16; down++) {
        for (let right = 0; right < 32; right++) {
          deepEqual(image.at(x + right, y + down), down + right === 0 ? [1, 2, 3] : colours[row][column]);
        }
      }
      deepEqual([image.at(x - 2, y), image.at(x, y - 2)], [[255, 255, 255], [255, 255, 255]]);
    }
  }
});

Deno.test("drawGrid() enlarges pixels to squares at scale 3", async () => {
  const corners = await find(await drawGrid({ ...plain, scale: 3 }), [1, 2, 3]);
  equal(corners.length, 6 * 9);
  const [[x, y]] = corners;
  deepEqual(corners.filter(([other, down]) => other < x + 4 && down < y + 4).length, 9);
});

Deno.test("drawGrid() draws each kind of text: more letters are more ink", async () => {
  const bare = { ...plain, columns: [{ label: "" }, { label: "" }], rows: plain.rows.map(() => ({ label: "" })) };
  const blank = await countInk(await drawGrid(bare));
  equal(blank, 6, "the pictures' own corners");
  const texts: Partial<GridOptions>[] = [
    { title: "Title" },
    { columns: [{ label: "Base" }, { label: "" }] },
    { columns: [{ label: "" }, { label: "", sublabel: "sks person" }] },
    { rows: [{ label: "White" }, { label: "" }, { label: "" }] },
    { rows: [{ label: "" }, { label: "", sublabel: "seed 1" }, { label: "" }] },
    { figures: [{ label: "identity kept", values: ["", ""] }] },
    { figures: [{ label: "", values: ["0.52", ""] }] },
    { footer: ["Means of 24 pictures"] },
  ];
  for (const text of texts) {
    ok(await countInk(await drawGrid({ ...bare, ...text })) > blank + 15, JSON.stringify(text));
  }
});

Deno.test("drawGrid() draws letters on a machine without fonts, where SVG text is blank", async () => {
  const folder = await Deno.makeTempDir();
  try {
    // In a process of its own, since fonts are looked for once: this configuration names no folder of fonts.
    await Deno.writeTextFile(`${folder}/fonts.conf`, '<?xml version="1.0"?><fontconfig></fontconfig>');
    const script = `import sharp from "sharp";
      import { drawGrid } from ${JSON.stringify(new URL("./grid.ts", import.meta.url).href)};
      const picture = { width: 16, height: 16, pixels: new Uint8Array(768).fill(200) };
      const grid = (label) => drawGrid({ columns: [{ label }], rows: [{ label: "" }], cells: [[picture]] });
      const text = (label) => Buffer.from(
        '<svg xmlns="http://www.w3.org/2000/svg" width="99" height="30"><text y="20">' + label + "</text></svg>");
      const raw = async (image) => (await sharp(image).flatten({ background: "#fff" }).greyscale().raw().toBuffer());
      const ink = (levels) => levels.filter((level) => level < 120).length;
      console.log(JSON.stringify([
        (await raw(text("io"))).equals(await raw(text("oi"))),
        ink(await raw(await grid("Character alone"))),
      ]));`;
    await Deno.writeTextFile(`${folder}/fontless.ts`, script);
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--no-check",
        "--config",
        fileURLToPath(new URL("../../deno.json", import.meta.url)),
        `${folder}/fontless.ts`,
      ],
      env: { FONTCONFIG_FILE: `${folder}/fonts.conf`, HOME: folder },
    }).output();
    const decoder = new TextDecoder();
    ok(stdout.length > 0, decoder.decode(stderr));
    const [isTextBlank, inkPixels] = JSON.parse(decoder.decode(stdout));
    ok(isTextBlank, "no font was hidden from this test: SVG text shows letters");
    ok(inkPixels > 100, `${inkPixels} dark pixels`);
  } finally {
    await rm(folder, { recursive: true });
  }
});

Deno.test("drawGrid() gives the same bytes for the same input", async () => {
  deepEqual(await drawGrid(plain), await drawGrid(plain));
});

Deno.test("drawGrid() refuses cells, figures and pictures that do not fit, and says which", async () => {
  const cases: [Partial<GridOptions>, RegExp][] = [
    [{ rows: [] }, /no rows or no columns/],
    [{ cells: plain.cells.slice(1) }, /found 2 rows of pictures, expected 3/],
    [{ cells: [...plain.cells.slice(0, 2), [plain.cells[0][0]]] }, /found 1 pictures in row 2, expected 2/],
    [
      { cells: [...plain.cells.slice(0, 2), [plain.cells[0][0], picture([0, 0, 0], [], 16, 16)]] },
      /found a picture of 16×16 in row 2, column 1, expected 32×16/,
    ],
    [
      { cells: plain.cells.map((row) => row.map((one) => ({ ...one, pixels: one.pixels.slice(3) }))) },
      /1533 bytes in row 0/,
    ],
    [{ figures: [{ label: "identity kept", values: ["1"] }] }, /found 1 figures for "identity kept", expected 2/],
    [{ scale: 1.5 }, /scale is 1.5/],
  ];
  for (const [change, message] of cases) await rejects(drawGrid({ ...plain, ...change }), message);
});
