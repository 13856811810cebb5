import { Buffer } from "node:buffer";
import { basename, dirname, join } from "node:path";
import { loadSharp } from "../../data/load_sharp.ts";
import type { RgbImage } from "../../data/image.ts";
import { Lettering, type TextStyle } from "./lettering.ts";

/** One sample: the whole picture with the part that is cut out, and that part as it is trained on. */
export interface ContactTile {
  /** Where in the epoch it stands: "batch 3 of 30". */
  readonly place: string;
  /** What is done to it, short: size, mirrored, other colours. */
  readonly facts: readonly string[];
  readonly caption: string;
  /** How the caption's tokens fill the text encoder, and whether it is cut. */
  readonly tokens: string;
  readonly isTooLong: boolean;
  readonly path: string;
  /** The whole picture, as scaled for the cut, made small. */
  readonly whole: RgbImage;
  /** The cut in the small picture, in its pixels. */
  readonly frame: { readonly left: number; readonly top: number; readonly width: number; readonly height: number };
  /** What is trained on, made small by the same factor. */
  readonly shown: RgbImage;
}

/** The tiles of one network. */
export interface ContactSection {
  readonly title: string;
  /** Facts about all of it, such as its buckets. */
  readonly notes: readonly string[];
  readonly tiles: readonly ContactTile[];
}

const ink = "#1a1a1a", softInk = "#666666", mark = "#d6006c", hairline = "#d0d0d0", paper = "#ffffff";
const columns = 4, margin = 24, gap = 20, inside = 8;
const heading: TextStyle = { size: 22, weight: "bold" }, bold: TextStyle = { size: 13, weight: "bold" };
const plain: TextStyle = { size: 13, weight: "regular" }, small: TextStyle = { size: 11, weight: "regular" };
const lineHeight = 1.35, mostCaptionLines = 5;

/** A picture to paste, and where. */
interface Paste {
  readonly image: RgbImage;
  readonly left: number;
  readonly top: number;
}

/** Draws tiles from left to right and top to bottom, and grows as it goes. */
class SheetDrawing {
  readonly #marks: string[] = [];
  readonly #pastes: Paste[] = [];
  #y = margin;

  constructor(readonly lettering: Lettering, readonly boxSide: number) {}

  get tileWidth(): number {
    return 2 * this.boxSide + inside;
  }

  get width(): number {
    return 2 * margin + columns * this.tileWidth + (columns - 1) * gap;
  }

  lines(texts: readonly string[], style: TextStyle, fill: string): void {
    for (const text of texts.flatMap((text) => this.lettering.wrap(text, this.width - 2 * margin, style))) {
      this.#write(text, margin, this.#y, style, fill);
      this.#y += style.size * lineHeight;
    }
  }

  space(height: number): void {
    this.#y += height;
  }

  tiles(all: readonly ContactTile[]): void {
    for (let at = 0; at < all.length; at += columns) {
      const row = all.slice(at, at + columns), top = Math.round(this.#y);
      const pictures = Math.max(...row.flatMap(({ whole, shown }) => [whole.height, shown.height]));
      const ends = row.map((tile, column) => {
        return this.#tile(tile, margin + column * (this.tileWidth + gap), top, pictures);
      });
      this.#y = Math.max(...ends) + gap;
    }
  }

  /** Draws one tile; gives where it ends. */
  #tile(tile: ContactTile, left: number, top: number, pictures: number): number {
    const { whole, frame, shown } = tile, right = left + this.boxSide + inside;
    for (const [image, x] of [[whole, left], [shown, right]] as const) {
      this.#pastes.push({ image, left: x, top });
      const edge = `x="${x - 0.5}" y="${top - 0.5}" width="${image.width + 1}" height="${image.height + 1}"`;
      this.#marks.push(`<rect ${edge} fill="none" stroke="${hairline}"/>`);
    }
    const cut = `x="${left + frame.left + 1}" y="${top + frame.top + 1}" width="${frame.width - 2}" height="${
      frame.height - 2
    }"`;
    this.#marks.push(`<rect ${cut} fill="none" stroke="#ffffff" stroke-width="4"/>`);
    this.#marks.push(`<rect ${cut} fill="none" stroke="${mark}" stroke-width="2"/>`);
    let y = top + pictures + 6;
    const write = (texts: readonly string[], style: TextStyle, fill: string, most = Infinity) => {
      const lines = texts.flatMap((text) => this.lettering.wrap(text, this.tileWidth, style));
      const kept = lines.length > most ? [...lines.slice(0, most - 1), `${lines[most - 1]} …`] : lines;
      for (const line of kept) {
        this.#write(line, left, y, style, fill);
        y += style.size * lineHeight;
      }
    };
    write([tile.place], bold, ink);
    write([tile.facts.join(" · ")], small, softInk);
    write([tile.caption === "" ? "(empty caption)" : tile.caption], plain, ink, mostCaptionLines);
    write([tile.tokens], small, tile.isTooLong ? mark : softInk);
    write([join(basename(dirname(tile.path)), basename(tile.path))], small, softInk, 2);
    return y;
  }

  #write(text: string, x: number, top: number, style: TextStyle, fill: string): void {
    this.#marks.push(this.lettering.path(text, { ...style, x, baseline: top + style.size, fill }));
  }

  async png(): Promise<Uint8Array<ArrayBuffer>> {
    const { width } = this, height = Math.ceil(this.#y + margin);
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${
      this.#marks.join("")
    }</svg>`;
    const pictures = this.#pastes.map(({ image: { width, height, pixels }, left, top }) => {
      return { input: Buffer.from(pixels), raw: { width, height, channels: 3 as const }, left, top };
    });
    const sharp = await loadSharp();
    const drawn = sharp({
      create: { width, height, channels: 3, background: paper },
      limitInputPixels: false,
    })
      .composite([...pictures, { input: Buffer.from(svg), limitInputPixels: false }]).removeAlpha();
    return new Uint8Array(await drawn.png({ compressionLevel: 9 }).toBuffer());
  }
}

/**
 * Draws samples in rows, as a PNG: for each the whole picture with its cut framed, beside it what is trained on, and under
 * them caption, tokens and what was done. All letters are outlines, so that they are there on machines without fonts.
 *
 * @param boxSide Longest side of a small picture, in pixels.
 */
export async function drawContactSheet(
  title: string,
  sections: readonly ContactSection[],
  boxSide: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const drawing = new SheetDrawing(await Lettering.load(), boxSide);
  drawing.lines([title], heading, ink);
  for (const { title, notes, tiles } of sections) {
    drawing.space(14);
    drawing.lines([title], { ...heading, size: 17 }, ink);
    drawing.lines(notes, plain, softInk);
    drawing.space(12);
    drawing.tiles(tiles);
  }
  return await drawing.png();
}
