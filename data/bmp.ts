import { ImageError } from "./image_error.ts";

/** An RGB picture: `pixels` is `[height, width, 3]`, one byte per channel. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8Array;
}

const fileHeaderBytes = 14;
const coreHeaderBytes = 12;
const uncompressed = 0;
const bitFields = 3;
const alphaBitFields = 6;

/** Moves the bits under a mask to the bottom and scales them to 0…255; a mask of 0 gives 0. */
function channelReader(mask: number): (pixel: number) => number {
  if (mask === 0) return () => 0;
  const shift = 31 - Math.clz32(mask & -mask);
  const largest = mask >>> shift;
  return (pixel) => Math.round(((pixel & mask) >>> shift) * 255 / largest);
}

/** What the header of a bitmap says. */
interface BitmapHeader {
  readonly width: number;
  readonly height: number;
  readonly topDown: boolean;
  readonly bitsPerPixel: number;
  readonly compression: number;
  readonly palette: { readonly offset: number; readonly entryBytes: number; readonly entries: number };
  readonly dataOffset: number;
}

function readHeader(view: DataView, name: string): BitmapHeader {
  const headerBytes = view.byteLength < 18 ? 0 : view.getUint32(14, true);
  if (view.byteLength < fileHeaderBytes + Math.max(headerBytes, coreHeaderBytes)) {
    throw new ImageError(name, "truncated", `the bitmap header is cut off after ${view.byteLength} bytes`);
  }
  const isCore = headerBytes === coreHeaderBytes;
  if (!isCore && headerBytes < 40) {
    throw new ImageError(
      name,
      "unsupported",
      `the bitmap header has ${headerBytes} bytes, 12 or at least 40 are known`,
    );
  }
  const signedHeight = isCore ? view.getUint16(20, true) : view.getInt32(22, true);
  const bitsPerPixel = view.getUint16(isCore ? 24 : 28, true);
  const compression = isCore ? uncompressed : view.getUint32(30, true);
  const entriesUsed = isCore ? 0 : view.getUint32(46, true);
  return {
    width: isCore ? view.getUint16(18, true) : view.getInt32(18, true),
    height: Math.abs(signedHeight),
    topDown: signedHeight < 0,
    bitsPerPixel,
    compression,
    palette: {
      offset: fileHeaderBytes + headerBytes,
      entryBytes: isCore ? 3 : 4,
      entries: bitsPerPixel > 8 ? 0 : entriesUsed || 1 << bitsPerPixel,
    },
    dataOffset: view.getUint32(10, true),
  };
}

/**
 * Width and height that the header of a bitmap gives.
 *
 * @throws {ImageError} If the header is cut off or of an unknown kind.
 */
export function bmpSize(bytes: Uint8Array, name: string): { width: number; height: number } {
  const { width, height } = readHeader(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), name);
  return { width, height };
}

/** Channel masks [red, green, blue] of 16- and 32-bit pixels. */
function channelMasks(view: DataView, header: BitmapHeader): number[] {
  if (header.compression !== uncompressed) return [54, 58, 62].map((offset) => view.getUint32(offset, true));
  return header.bitsPerPixel === 16 ? [0x7c00, 0x03e0, 0x001f] : [0xff0000, 0x00ff00, 0x0000ff];
}

/**
 * Decodes an uncompressed Windows bitmap of 1, 4, 8, 16, 24 or 32 bits per pixel; a fourth channel is dropped.
 *
 * @param bytes The file's content, beginning with `BM`.
 * @param name The file's name, for errors.
 * @param options.pixelLimit Most pixels to accept.
 * @throws {ImageError} If the file is cut off, damaged, too large or run-length encoded.
 */
export function decodeBmp(bytes: Uint8Array, name: string, options: { pixelLimit: number }): RgbImage {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = readHeader(view, name);
  const { width, height, bitsPerPixel, compression, palette } = header;
  if (width < 1 || height < 1) throw new ImageError(name, "damaged", `its size is given as ${width} x ${height}`);
  if (width * height > options.pixelLimit) {
    throw new ImageError(name, "too_large", `it declares ${width} x ${height} pixels, more than ${options.pixelLimit}`);
  }
  const masked = bitsPerPixel === 16 || bitsPerPixel === 32;
  const readable = compression === uncompressed || (masked && [bitFields, alphaBitFields].includes(compression));
  if (!readable || ![1, 4, 8, 16, 24, 32].includes(bitsPerPixel)) {
    const found = `${bitsPerPixel} bits per pixel with compression ${compression}`;
    throw new ImageError(name, "unsupported", `bitmaps with ${found} are not read; save it as PNG`);
  }
  const rowBytes = Math.ceil(width * bitsPerPixel / 32) * 4;
  const neededBytes = Math.max(
    header.dataOffset + rowBytes * height,
    palette.offset + palette.entries * palette.entryBytes,
    masked && compression !== uncompressed ? 66 : 0,
  );
  if (bytes.length < neededBytes) {
    throw new ImageError(name, "truncated", `it has ${bytes.length} bytes, its header asks for ${neededBytes}`);
  }
  const pixels = new Uint8Array(width * height * 3);
  const readers = masked ? channelMasks(view, header).map(channelReader) : [];
  for (let row = 0; row < height; row++) {
    const from = header.dataOffset + (header.topDown ? row : height - 1 - row) * rowBytes;
    for (let column = 0; column < width; column++) {
      const to = (row * width + column) * 3;
      if (masked) {
        const at = from + column * bitsPerPixel / 8;
        const pixel = bitsPerPixel === 16 ? view.getUint16(at, true) : view.getUint32(at, true);
        readers.forEach((read, channel) => pixels[to + channel] = read(pixel));
        continue;
      }
      let at = from + column * 3;
      if (bitsPerPixel <= 8) {
        const bit = column * bitsPerPixel;
        const packed = bytes[from + (bit >> 3)];
        const index = (packed >> (8 - bitsPerPixel - (bit & 7))) & ((1 << bitsPerPixel) - 1);
        if (index >= palette.entries) {
          const where = `pixel ${column}, ${row} has colour ${index}`;
          throw new ImageError(name, "damaged", `${where}, the palette has ${palette.entries}`);
        }
        at = palette.offset + index * palette.entryBytes;
      }
      pixels[to] = bytes[at + 2];
      pixels[to + 1] = bytes[at + 1];
      pixels[to + 2] = bytes[at];
    }
  }
  return { width, height, pixels };
}
