import { deepEqual, match, ok } from "node:assert/strict";
import { contactSheetHtml } from "./contact_sheet_html.ts";

const evil = `"><script>alert(1)</script><img src=x onerror='alert(2)'>&`;
const picture = { width: 2, height: 1, pixels: new Uint8Array(6) };

Deno.test("contactSheetHtml() escapes titles, notes, captions, tokens and names of files", async () => {
  const tile = {
    ...{ whole: picture, shown: picture, frame: { left: 0, top: 0, width: 1, height: 1 }, isTooLong: true },
    ...{ place: evil, facts: [evil, evil], caption: evil, tokens: evil, path: `/data/${evil}.png` },
  };
  const html = await contactSheetHtml(evil, [{ title: evil, notes: [evil], tiles: [tile, { ...tile, caption: "" }] }]);
  ok(!/<script|<\/script|onerror='/.test(html));
  const tags = new Set(html.match(/<[a-z]\w*/gi)), page = ["html", "head", "meta", "title", "style", "body", "h1"];
  deepEqual([...tags].filter((tag) => !page.includes(tag.slice(1))).sort(), [
    ...["<b", "<div", "<h2", "<i", "<img", "<li", "<p", "<section", "<span", "<ul"],
  ]);
  // Every picture is in the page, and the page may load and run nothing.
  for (const [, source] of html.matchAll(/<img src="([^"]*)"/g)) match(source, /^data:image\/png;base64,/);
  match(html, /http-equiv="Content-Security-Policy" content="default-src 'none'/);
});
