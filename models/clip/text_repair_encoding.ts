// ftfy 6.3.1's repair of wrongly decoded UTF-8, ported from Python; Apache License 2.0, see LICENSE.ftfy.txt.
// Bytes are held as strings of the characters U+0000 to U+00FF, so that regular expressions can match them.

import tables from "./text_repair_tables.json" with { type: "json" };

/** A single-byte encoding by which UTF-8 may have been decoded. */
interface Encoding {
  readonly name: string;
  /** Whether bytes without a character stand for themselves, and byte 1A for U+FFFD. */
  readonly isSloppy: boolean;
  readonly characterToByte: ReadonlyMap<string, string>;
}

/** In the order in which they are tried. */
const ENCODINGS: readonly Encoding[] = Object.entries(tables.encodings).map(([name, upperHalf]) => {
  const isSloppy = name.startsWith("sloppy-");
  const map = new Map<string, string>();
  for (let byte = 0; byte < 0x80; byte++) map.set(String.fromCharCode(byte), String.fromCharCode(byte));
  if (isSloppy) map.delete("\x1a");
  if (isSloppy) map.set("\ufffd", "\x1a");
  for (let i = 0; i < 128; i++) map.set(upperHalf[i], String.fromCharCode(0x80 + i));
  return { name, isSloppy, characterToByte: map };
});

const WINDOWS_1252 = tables.encodings["sloppy-windows-1252"];

// Python's \w, \s and . match other characters than JavaScript's.
const BADNESS = new RegExp(
  tables.badness.map((rule) =>
    rule
      .replace(/\{(\w+)\}/g, (_, category) => tables.categories[category as keyof typeof tables.categories])
      .replace("\\w", "[\\p{L}\\p{N}_]")
      .replace("\\s", "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]")
      .replace("В.[", "В[^\\n][")
  ).join("|"),
  "u",
);

const CLUES = tables.utf8Clues;
const UTF8_DETECTOR = new RegExp(
  `(?<![${CLUES.utf8_continuation_strict}])(?:[${CLUES.utf8_first_of_2}][${CLUES.utf8_continuation}]|` +
    `[${CLUES.utf8_first_of_3}][${CLUES.utf8_continuation}]{2}|` +
    `[${CLUES.utf8_first_of_4}][${CLUES.utf8_continuation}]{3})+`,
  "gu",
);

/** UTF-8 where a space took the place of byte A0. */
const ALTERED_UTF8 = new RegExp(
  "[\\xc2\\xc3\\xc5\\xce\\xd0\\xd9] |[\\xe2\\xe3] [\\x80-\\x84\\x86-\\x9f\\xa1-\\xbf]|" +
    "[\\xe0-\\xe3][\\x80-\\x84\\x86-\\x9f\\xa1-\\xbf] |\\xf0 [\\x80-\\xbf][\\x80-\\xbf]|" +
    "\\xf0[\\x80-\\xbf] [\\x80-\\xbf]|\\xf0[\\x80-\\xbf][\\x80-\\xbf] ",
  "g",
);

/** UTF-8 where byte 1A (here Z for the reader) or "?" took the place of a byte that was lost. */
const LOSSY_UTF8 = new RegExp(
  ("[\\xc2-\\xdf]Z|[\\xc2-\\xc3]\\?|\\xed[\\xa0-\\xaf][Z?]\\xed[\\xb0-\\xbf][Z?\\x80-\\xbf]|" +
    "\\xed[\\xa0-\\xaf][Z?\\x80-\\xbf]\\xed[\\xb0-\\xbf][Z?]|[\\xe0-\\xef][Z?][Z\\x80-\\xbf]|" +
    "[\\xe0-\\xef][Z\\x80-\\xbf][Z?]|[\\xf0-\\xf4][Z?][Z\\x80-\\xbf][Z\\x80-\\xbf]|" +
    "[\\xf0-\\xf4][Z\\x80-\\xbf][Z?][Z\\x80-\\xbf]|[\\xf0-\\xf4][Z\\x80-\\xbf][Z\\x80-\\xbf][Z?]|Z")
    .replaceAll("Z", "\\x1a"),
  "g",
);
/** U+FFFD in UTF-8. */
const REPLACEMENT_BYTES = "\xef\xbf\xbd";

/** Surrogate pairs of which each half was encoded alone (CESU-8). */
const CESU8_PAIR = /\xed([\xa0-\xaf][\x80-\xbf])\xed([\xb0-\xbf][\x80-\xbf])/g;

/** Undoes decoding by wrong encodings, as often as it finds any. */
export function fixEncoding(text: string): string {
  for (let current = text;;) {
    const next = fixEncodingOnce(current);
    if (next === current) return next;
    current = next;
  }
}

/** Reads leftover C1 control characters as Windows-1252, as web browsers do. */
export function fixC1Controls(text: string): string {
  return text.replace(/[\x80-\x9f]/g, (character) => WINDOWS_1252[character.charCodeAt(0) - 0x80]);
}

function fixEncodingOnce(text: string): string {
  if (!BADNESS.test(text)) return text;
  for (const encoding of ENCODINGS) {
    const fixed = decodeAgain(text, encoding);
    if (fixed !== null) return fixed;
  }
  const isolated = text.replace(UTF8_DETECTOR, (part) => {
    // A shorter part, so that this ends.
    return part.length < text.length && BADNESS.test(part) ? fixEncoding(part) : part;
  });
  if (isolated !== text) return isolated;
  return fixC1Controls(text);
}

/** The text if it was UTF-8 that an encoding decoded wrongly, else null. */
function decodeAgain(text: string, { name, isSloppy, characterToByte }: Encoding): string | null {
  let bytes = "";
  for (const character of text) {
    const byte = characterToByte.get(character);
    if (byte === undefined) return null;
    bytes += byte;
  }
  // In Mac Roman byte A0 is a dagger, and an en dash with a space behind it would be taken for mojibake.
  if (name !== "macroman") bytes = restoreByteA0(bytes);
  if (isSloppy) bytes = bytes.replace(LOSSY_UTF8, REPLACEMENT_BYTES);
  return decodeUtf8(bytes);
}

/** Puts back byte A0 where a program took it for a space and the rest looks like UTF-8. */
function restoreByteA0(bytes: string): string {
  if (bytes.search(ALTERED_UTF8) < 0) return bytes;
  // "Ã la mode" is "à la mode" with its space lost, except in Portuguese words that start with à.
  const withWords = bytes.replace(/\xc3 (?! |quele|quela|quilo|s )/g, "\xc3\xa0 ");
  return withWords.replace(ALTERED_UTF8, (part) => part.replaceAll(" ", "\xa0"));
}

/** Decodes UTF-8, also CESU-8 and Java's two-byte null; null if the bytes are neither. */
function decodeUtf8(bytes: string): string | null {
  const usual = bytes.replaceAll("\xc0\x80", "\0").replace(CESU8_PAIR, (_, lead: string, trail: string) => {
    const half = (pair: string) => ((pair.charCodeAt(0) & 0x0f) << 6) + (pair.charCodeAt(1) & 0x3f);
    const code = 0x10000 + (half(lead) << 10) + half(trail);
    return String.fromCharCode(...new TextEncoder().encode(String.fromCodePoint(code)));
  });
  try {
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    return decoder.decode(Uint8Array.from(usual, (byte) => byte.charCodeAt(0)));
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}
