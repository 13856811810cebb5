import { loadSharp } from "../../data/load_sharp.ts";
import type { RgbImage } from "../../data/image.ts";
import { Lettering, type TextPlacement, type TextStyle } from "./lettering.ts";

/** A heading over a column, or a label beside a row. */
export interface GridLabel {
  readonly label: string;
  /** A second, lighter line: a prompt, a seed. */
  readonly sublabel?: string;
}

/** A line of figures under the pictures, one per column. */
export interface GridFigures {
  readonly label: string;
  /** Text per column; empty where a column has none. */
  readonly values: readonly string[];
}

/** What a picture grid shows. */
export interface GridOptions {
  readonly title?: string;
  readonly columns: readonly GridLabel[];
  readonly rows: readonly GridLabel[];
  /** Pictures of one size, `cells[row][column]`. */
  readonly cells: readonly (readonly RgbImage[])[];
  readonly figures?: readonly GridFigures[];
  /** Notes under it all; long ones are wrapped. */
  readonly footer?: readonly string[];
  /** Whole-number enlargement of the pictures, pixels kept sharp; 1 when left out. */
  readonly scale?: number;
}

const ink = "#1a1a1a", softInk = "#666666", hairline = "#d0d0d0", paper = "#ffffff";

/** Height of a line over the size of its letters. */
const lineHeight = 1.25;

/** How far a line's letters reach above its middle, over their size: what centres a line on a height. */
const middleToBaseline = 0.35;

/**
 * Draws pictures in rows and columns with headings, figures and notes, as a PNG.
 *
 * All letters are outlines, so that they are there on machines without fonts. The same input gives the same bytes.
 *
 * @throws {TypeError} If there is no picture, counts of cells, labels or figures do not match, or pictures differ in size.
 * @throws {RangeError} If the scale is no whole number above 0.
 */
export async function drawGrid(options: GridOptions): Promise<Uint8Array> {
  const { cells, scale = 1 } = options;
  const { width, height } = checkedSize(options);
  const layout = layOut(options, await Lettering.load(), { width: width * scale, height: height * scale });
  const sharp = await loadSharp();
  const canvas = new Uint8Array(
    await sharp(new TextEncoder().encode(layout.svg), { limitInputPixels: false })
      .flatten({ background: paper }).removeAlpha().toColourspace("srgb").raw({ depth: "uchar" }).toBuffer(),
  );
  for (const [row, pictures] of cells.entries()) {
    for (const [column, picture] of pictures.entries()) {
      paste(picture, canvas, { x: layout.columnsX[column], y: layout.rowsY[row], scale, canvasWidth: layout.width });
    }
  }
  const raw = { width: layout.width, height: layout.height, channels: 3 } as const;
  return new Uint8Array(
    await sharp(canvas, { raw, limitInputPixels: false }).png({ compressionLevel: 9 }).toBuffer(),
  );
}

function checkedSize({ columns, rows, cells, figures = [], scale = 1 }: GridOptions): RgbImage {
  const fail = (found: string, wanted: string) =>
    new TypeError(`Cannot draw a picture grid: found ${found}, expected ${wanted}`);
  if (!Number.isInteger(scale) || scale < 1) {
    throw new RangeError(`Cannot draw a picture grid: scale is ${scale}, must be a whole number above 0`);
  }
  if (rows.length === 0 || columns.length === 0) throw fail("no rows or no columns", "at least one of each");
  if (cells.length !== rows.length) throw fail(`${cells.length} rows of pictures`, `${rows.length}, one per row label`);
  for (const [row, pictures] of cells.entries()) {
    if (pictures.length !== columns.length) {
      throw fail(`${pictures.length} pictures in row ${row}`, `${columns.length}, one per column heading`);
    }
    for (const [column, { width, height, pixels }] of pictures.entries()) {
      const where = `in row ${row}, column ${column}`, first = cells[0][0];
      if (width !== first.width || height !== first.height) {
        throw fail(`a picture of ${width}×${height} ${where}`, `${first.width}×${first.height} as the first is`);
      }
      if (pixels.length !== width * height * 3) {
        throw fail(`a picture of ${pixels.length} bytes ${where}`, `${width * height * 3} (RGB, ${width}×${height})`);
      }
    }
  }
  for (const { label, values } of figures) {
    if (values.length !== columns.length) {
      throw fail(`${values.length} figures for ${JSON.stringify(label)}`, `${columns.length}, one per column`);
    }
  }
  return cells[0][0];
}

/** The drawing without its pictures, and where these go. */
interface Layout {
  readonly width: number;
  readonly height: number;
  /** Left edge of each column's pictures, in pixels. */
  readonly columnsX: readonly number[];
  /** Top edge of each row's pictures, in pixels. */
  readonly rowsY: readonly number[];
  readonly svg: string;
}

function layOut(options: GridOptions, lettering: Lettering, cell: { width: number; height: number }): Layout {
  const { title, columns, rows, figures = [], footer = [] } = options;
  const size = Math.min(24, Math.max(12, Math.round(cell.width * 0.1)));
  const bold: TextStyle = { size, weight: "bold" }, small: TextStyle = { size: size * 0.85, weight: "regular" };
  const large: TextStyle = { size: size * 1.5, weight: "bold" };
  const margin = Math.round(size * 1.75), gap = Math.round(size * 0.6);
  const marks: string[] = [];
  const write = (text: string, placement: TextPlacement) => marks.push(lettering.path(text, placement));

  const rowLabels = rows.map((row) => labelLines(row, lettering, size * 10, bold, small));
  const figureLabels = figures.map(({ label }) => ({ text: label, style: small, fill: softInk }));
  const gutter = Math.ceil(
    Math.max(...[...rowLabels.flat(), ...figureLabels].map(({ text, style }) => lettering.width(text, style))),
  );
  const firstX = margin + (gutter > 0 ? gutter + gap * 2 : 0);
  const columnsX = columns.map((_, index) => firstX + index * (cell.width + gap));
  const rightX = columnsX.at(-1)! + cell.width;

  let y = margin;
  for (const text of title === undefined ? [] : lettering.wrap(title, rightX - margin, large)) {
    write(text, { ...large, x: margin, baseline: y + large.size, fill: ink });
    y += large.size * lineHeight;
  }
  if (title !== undefined) y += size;

  const headings = columns.map((column) => labelLines(column, lettering, cell.width, bold, small));
  const headingHeight = Math.max(...headings.map(linesHeight));
  for (const [index, lines] of headings.entries()) {
    // Headings stand on the pictures: the shorter ones leave white space above.
    writeLines(lines, columnsX[index] + cell.width / 2, y + headingHeight - linesHeight(lines), "middle");
  }
  y = Math.round(y + headingHeight + gap * 0.75);

  const rowsY = rows.map((_, index) => y + index * (cell.height + gap));
  for (const [row, top] of rowsY.entries()) {
    const lines = rowLabels[row];
    writeLines(lines, firstX - gap * 2, top + (cell.height - linesHeight(lines)) / 2, "end");
    for (const left of columnsX) {
      const frame = { x: left - 0.5, y: top - 0.5, width: cell.width + 1, height: cell.height + 1 };
      marks.push(`<rect ${attributes(frame)} fill="none" stroke="${hairline}"/>`);
    }
  }
  y = rowsY.at(-1)! + cell.height + gap;

  for (const [index, { values }] of figures.entries()) {
    const baseline = y + size * (0.85 + middleToBaseline), { text, style, fill } = figureLabels[index];
    write(text, { ...style, x: firstX - gap * 2, baseline, anchor: "end", fill });
    for (const [column, value] of values.entries()) {
      write(value, { ...bold, x: columnsX[column] + cell.width / 2, baseline, anchor: "middle", fill: ink });
    }
    y += size * 1.6;
  }

  if (footer.length > 0) y += size * 0.5;
  for (const text of footer.flatMap((note) => lettering.wrap(note, rightX - margin, small))) {
    write(text, { ...small, x: margin, baseline: y + small.size, fill: softInk });
    y += small.size * 1.4;
  }

  const width = rightX + margin, height = Math.ceil(y + margin - gap);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${marks.join("")}</svg>`;
  return { width, height, columnsX, rowsY, svg };

  function writeLines(lines: readonly Line[], x: number, top: number, anchor: "middle" | "end") {
    let at = top;
    for (const { text, style, fill } of lines) {
      write(text, { ...style, x, baseline: at + style.size * (lineHeight / 2 + middleToBaseline), anchor, fill });
      at += style.size * lineHeight;
    }
  }
}

/** One line of a label. */
interface Line {
  readonly text: string;
  readonly style: TextStyle;
  readonly fill: string;
}

function labelLines(
  { label, sublabel = "" }: GridLabel,
  lettering: Lettering,
  maxWidth: number,
  bold: TextStyle,
  small: TextStyle,
): Line[] {
  return [
    ...lettering.wrap(label, maxWidth, bold).map((text) => ({ text, style: bold, fill: ink })),
    ...lettering.wrap(sublabel, maxWidth, small).map((text) => ({ text, style: small, fill: softInk })),
  ];
}

function linesHeight(lines: readonly Line[]): number {
  return lines.reduce((sum, { style }) => sum + style.size * lineHeight, 0);
}

function attributes(values: Readonly<Record<string, number>>): string {
  return Object.entries(values).map(([name, value]) => `${name}="${value}"`).join(" ");
}

/** Copies a picture into the canvas, every pixel as a square of `scale` pixels. */
function paste(
  { width, height, pixels }: RgbImage,
  canvas: Uint8Array,
  { x, y, scale, canvasWidth }: { x: number; y: number; scale: number; canvasWidth: number },
): void {
  for (let row = 0; row < height * scale; row++) {
    for (let column = 0; column < width * scale; column++) {
      const from = (Math.floor(row / scale) * width + Math.floor(column / scale)) * 3;
      canvas.set(pixels.subarray(from, from + 3), ((y + row) * canvasWidth + x + column) * 3);
    }
  }
}
