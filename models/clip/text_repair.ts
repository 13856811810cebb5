// The repair that ftfy 6.3.1 makes with its default settings, ported from Python; Apache License 2.0, see LICENSE.ftfy.txt.
// Of its limits one is left out: ftfy cuts lines of more than a million characters.

import { fixC1Controls, fixEncoding } from "./text_repair_encoding.ts";
import tables from "./text_repair_tables.json" with { type: "json" };

const HTML_ENTITIES = new Map(Object.entries(tables.htmlEntities));

/**
 * Repairs glitches in text: wrongly decoded UTF-8 (mojibake), HTML entities, ligatures, curly quotes, full-width letters,
 * control characters; then NFC. sd-scripts' tokenizer sees prompts only after this.
 *
 * @see https://ftfy.readthedocs.io
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(repairText("schÃ¶n &amp; ﬁne, donâ€™t"), "schön & fine, don't");
 * ```
 */
export function repairText(text: string): string {
  let unescapesHtml = true;
  let repaired = "";
  for (const line of text.match(/[^\n]*\n|[^\n]+/g) ?? []) {
    // A "<" says that the text is HTML, where entities have their place; ftfy then leaves them alone to the end.
    unescapesHtml &&= !line.includes("<");
    repaired += repairLine(line, unescapesHtml);
  }
  return repaired;
}

function repairLine(line: string, unescapesHtml: boolean): string {
  for (let text = line;;) {
    const before = text;
    if (unescapesHtml) text = unescapeHtml(text);
    text = fixC1Controls(fixEncoding(text));
    text = replaceFrom(LIGATURES, text);
    text = replaceFrom(WIDTHS, text);
    text = text.replace(/[\u201c-\u201f]/g, '"').replace(/[\u02bc\u2018-\u201b]/g, "'");
    text = text.replace(/\r\n|[\r\u2028\u2029\u0085]/g, "\n");
    text = removeControls(removeTerminalEscapes(text.toWellFormed())).normalize("NFC");
    if (text === before) return text;
  }
}

/** Windows-1252 at 0x80 to 0x9F, which HTML reads for these numbers; also 0 and carriage return. */
const NUMBER_REPLACEMENTS = new Map([
  ...Array.from({ length: 32 }, (_, i): [number, string] => [0x80 + i, fixC1Controls(String.fromCharCode(0x80 + i))]),
  [0, "\ufffd"],
]);

function unescapeHtml(text: string): string {
  return text.replace(/&(#?[0-9A-Za-z]{1,24});/g, (entity, name: string) => {
    const number = /^#(?:(\d+)|[xX]([0-9a-fA-F]+))$/.exec(name);
    if (number === null) return HTML_ENTITIES.get(name) ?? entity;
    const character = numberedCharacter(number[1] ? parseInt(number[1], 10) : parseInt(number[2], 16));
    return character === ";" ? entity : character;
  });
}

/** What Python's `html.unescape` gives for a numbered entity. */
function numberedCharacter(code: number): string {
  const replacement = NUMBER_REPLACEMENTS.get(code);
  if (replacement !== undefined) return replacement;
  if ((code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff) return "\ufffd";
  const isControl = code === 0x7f || (code < 0x20 && ![0x09, 0x0a, 0x0c, 0x0d].includes(code));
  const isNoCharacter = (code >= 0xfdd0 && code <= 0xfdef) || (code & 0xfffe) === 0xfffe;
  return isControl || isNoCharacter ? "" : String.fromCodePoint(code);
}

const LIGATURES = new Map([
  ["Ĳ", "IJ"],
  ["ĳ", "ij"],
  ["ŉ", "ʼn"],
  ["Ǳ", "DZ"],
  ["ǲ", "Dz"],
  ["ǳ", "dz"],
  ["Ǆ", "DŽ"],
  ["ǅ", "Dž"],
  ["ǆ", "dž"],
  ["Ǉ", "LJ"],
  ["ǈ", "Lj"],
  ["ǉ", "lj"],
  ["Ǌ", "NJ"],
  ["ǋ", "Nj"],
  ["ǌ", "nj"],
  ["ﬀ", "ff"],
  ["ﬁ", "fi"],
  ["ﬂ", "fl"],
  ["ﬃ", "ffi"],
  ["ﬄ", "ffl"],
  ["ﬅ", "ſt"],
  ["ﬆ", "st"],
]);

/** Half-width and full-width forms, and the ideographic space. */
const WIDTHS = new Map([["\u3000", " "]]);
for (let code = 0xff01; code < 0xfff0; code++) {
  const character = String.fromCharCode(code);
  const usual = character.normalize("NFKC");
  if (usual !== character) WIDTHS.set(character, usual);
}

function replaceFrom(map: ReadonlyMap<string, string>, text: string): string {
  return Array.from(text, (character) => map.get(character) ?? character).join("");
}

const TERMINAL_ESCAPE = new RegExp(`${String.fromCharCode(0x1b)}\\[[\\p{Nd};]*[a-zA-Z]`, "gu");

function removeTerminalEscapes(text: string): string {
  return text.replaceAll(TERMINAL_ESCAPE, "");
}

function removeControls(text: string): string {
  return Array.from(text).filter((character) => !isUnwantedControl(character.codePointAt(0)!)).join("");
}

/** ASCII controls that are no white space, deprecated Arabic controls, byte order mark, annotations, object replacement. */
function isUnwantedControl(code: number): boolean {
  if (code < 0x20) return code !== 0x09 && code !== 0x0a && code !== 0x0c && code !== 0x0d;
  return code === 0x7f || (code >= 0x206a && code <= 0x206f) || code === 0xfeff || (code >= 0xfff9 && code <= 0xfffc);
}
