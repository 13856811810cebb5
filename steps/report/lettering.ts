/**
 * Text as outlines, for pictures made on machines that may have no font at all.
 *
 * A bare Debian has none, and SVG text then renders as nothing; paths always render, and the same everywhere.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parse } from "opentype.js/dist/opentype.mjs";

/** Weights of the typeface. */
export type Weight = "regular" | "bold";

/** Size and weight of a text. */
export interface TextStyle {
  /** Height of the em square, in pixels. */
  readonly size: number;
  readonly weight: Weight;
}

/** Where a text stands and how it is painted. */
export interface TextPlacement extends TextStyle {
  readonly x: number;
  /** Of the line that letters stand on. */
  readonly baseline: number;
  /** What x is of the text; `start` when left out. */
  readonly anchor?: "start" | "middle" | "end";
  readonly fill: string;
}

/** What is used of a parsed font; the package comes without types. */
interface OutlineFont {
  getAdvanceWidth(text: string, size: number): number;
  getPath(text: string, x: number, y: number, size: number): { readonly commands: readonly PathCommand[] };
}

/** One stroke of an outline; the points that its type does not use are left out. */
interface PathCommand {
  readonly type: "M" | "L" | "Q" | "C" | "Z";
  readonly x1?: number;
  readonly y1?: number;
  readonly x2?: number;
  readonly y2?: number;
  readonly x?: number;
  readonly y?: number;
}

/**
 * A typeface (Lato) that turns Latin text into SVG paths. Each letter that it lacks, such as `λ` or `初`, is a box with a question mark. Accents that follow their letter,
 * as in file names of macOS, are drawn as the one letter that both are.
 */
export class Lettering {
  private constructor(private readonly fonts: Readonly<Record<Weight, OutlineFont>>) {}

  /** Loads both weights. */
  static async load(): Promise<Lettering> {
    return new Lettering({ regular: await loadFont(400), bold: await loadFont(700) });
  }

  /** Pixels from the first letter's start to where a next letter would start. */
  width(text: string, { size, weight }: TextStyle): number {
    return this.fonts[weight].getAdvanceWidth(text.normalize(), size);
  }

  /** One line of text as an SVG path element. */
  path(text: string, { x, baseline, size, weight, anchor = "start", fill }: TextPlacement): string {
    const share = { start: 0, middle: 0.5, end: 1 }[anchor];
    const start = x - share * this.width(text, { size, weight });
    const { commands } = this.fonts[weight].getPath(text.normalize(), start, baseline, size);
    return `<path fill="${fill}" d="${commands.map(pathData).join("")}"/>`;
  }

  /** Breaks a text at spaces into lines no wider than `maxWidth` pixels, and between letters what is wider without a space, such as Japanese or tags with commas. */
  wrap(text: string, maxWidth: number, style: TextStyle): string[] {
    const lines: string[] = [];
    for (const word of text.split(/\s+/).filter((word) => word !== "")) {
      const longer = lines.length > 0 ? `${lines.at(-1)} ${word}` : word;
      if (lines.length > 0 && this.width(longer, style) <= maxWidth) lines[lines.length - 1] = longer;
      else lines.push(...this.#pieces(word, maxWidth, style));
    }
    return lines;
  }

  /** The word in pieces that fit, of a letter at least. */
  #pieces(word: string, maxWidth: number, style: TextStyle): string[] {
    const pieces = [""];
    for (const letter of word.normalize()) {
      const last = pieces.at(-1)!;
      if (last !== "" && this.width(last + letter, style) > maxWidth) pieces.push(letter);
      else pieces[pieces.length - 1] = last + letter;
    }
    return pieces;
  }
}

/** The package's own `toPathData` writes NaN for coordinates within 1e-6 of zero. */
function pathData({ type, x1, y1, x2, y2, x, y }: PathCommand): string {
  const numbers = [x1, y1, x2, y2, x, y].filter((value) => value !== undefined);
  return type + numbers.map((value) => value.toFixed(2)).join(" ");
}

async function loadFont(weight: 400 | 700): Promise<OutlineFont> {
  const url = import.meta.resolve(`@fontsource/lato/files/lato-latin-${weight}-normal.woff`);
  const bytes = await readFile(fileURLToPath(url));
  return parse(new Uint8Array(bytes).buffer);
}
