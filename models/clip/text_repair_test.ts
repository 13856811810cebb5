import { deepEqual, equal } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { repairText } from "./text_repair.ts";

async function golden(name: string): Promise<unknown> {
  return JSON.parse(await readFile(new URL(`../../tests/golden/models/${name}`, import.meta.url), "utf8"));
}

Deno.test("repairText() equals ftfy 6.3.1 on 600 texts, most of them wrongly decoded", async () => {
  const rows = await golden("text_repair.json") as [string, string][];
  equal(rows.length, 600);
  deepEqual(rows.map(([text]) => repairText(text)), rows.map(([, fixed]) => fixed));
});

Deno.test("repairText() leaves entities alone behind a tag, and takes them apart before it", () => {
  // From ftfy 6.3.1: fix_text("&amp;\n<b>&amp;\n&amp;")
  equal(repairText("&amp;\n<b>&amp;\n&amp;"), "&\n<b>&amp;\n&amp;");
});

Deno.test("repairText() reads numbered entities as Python does", () => {
  // From ftfy 6.3.1; fix_text then drops control characters, and a ";" would look like half an entity.
  const entities = "&#59;|&#0;|&#128;|&#xd800;|&#x110000;|&#65534;|&#1;|&#12ab;|&#X41;";
  equal(repairText(entities), "&#59;|\ufffd|€|\ufffd|\ufffd|||&#12ab;|A");
});

Deno.test("repairText() decodes surrogates that were encoded one by one, and Java's null", () => {
  // From ftfy 6.3.1.
  equal(repairText("\xed\xa0\xbd\xed\xb8\x80 ok"), "😀 ok");
  equal(repairText("sch\xc3\xb6n\xc0\x80!"), "schön!");
});
