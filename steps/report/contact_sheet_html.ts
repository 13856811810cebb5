import { loadSharp } from "../../data/load_sharp.ts";
import type { RgbImage } from "../../data/image.ts";
import type { ContactSection, ContactTile } from "./contact_sheet.ts";
import { escapeHtml, htmlDocument } from "./html.ts";

const style = `
:root { color-scheme: light dark; --ink: #1a1a1a; --soft: #5c5c5c; --line: #d8d8d8; --paper: #ffffff; --mark: #d6006c; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececec; --soft: #a9a9a9; --line: #444444; --paper: #161616; --mark: #ff6fb1; }
}
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem 1.5rem 4rem; background: var(--paper); color: var(--ink);
  font: 0.9375rem/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.5rem; }
h2 { margin: 2.5rem 0 0.25rem; padding-top: 0.75rem; border-top: 1px solid var(--line); font-size: 1.15rem; }
p { margin: 0 0 0.25rem; }
.soft { color: var(--soft); font-size: 0.8125rem; }
.mark { color: var(--mark); }
ul { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1.5rem; margin: 1rem 0 0;
  padding: 0; list-style: none; }
.pictures { display: flex; align-items: flex-start; gap: 0.5rem; margin-bottom: 0.5rem; }
.pictures span { position: relative; display: block; line-height: 0; }
.pictures img { display: block; }
.pictures i { position: absolute; border: 2px solid var(--mark); outline: 1px solid #ffffff; }
b { display: block; }
`;

async function dataUri({ width, height, pixels }: RgbImage): Promise<string> {
  const sharp = await loadSharp();
  const png = await sharp(pixels, { raw: { width, height, channels: 3 } }).png({ compressionLevel: 9 })
    .toBuffer();
  return `data:image/png;base64,${new Uint8Array(png).toBase64()}`;
}

async function picture(image: RgbImage, alternative: string): Promise<string> {
  const size = `width="${image.width}" height="${image.height}"`;
  return `<img src="${await dataUri(image)}" ${size} alt="${escapeHtml(alternative)}">`;
}

async function tileHtml(tile: ContactTile): Promise<string> {
  const { whole, shown, frame, place, facts, caption, tokens, isTooLong, path } = tile;
  const box = Object.entries(frame).map(([name, value]) => `${name}:${value}px`).join(";");
  const text = caption === "" ? '<span class="soft">(empty caption)</span>' : escapeHtml(caption);
  return `<li><div class="pictures"><span>${await picture(whole, "the whole picture")}<i style="${box}"></i></span>` +
    `<span>${await picture(shown, "what is trained on")}</span></div>` +
    `<b>${escapeHtml(place)}</b><p class="soft">${escapeHtml(facts.join(" · "))}</p><p>${text}</p>` +
    `<p class="soft${isTooLong ? " mark" : ""}">${escapeHtml(tokens)}</p><p class="soft">${escapeHtml(path)}</p></li>`;
}

/** Samples as one HTML file that needs no network, no script and no other file. */
export async function contactSheetHtml(title: string, sections: readonly ContactSection[]): Promise<string> {
  const parts: string[] = [];
  for (const { title, notes, tiles } of sections) {
    const items: string[] = [];
    for (const tile of tiles) items.push(await tileHtml(tile));
    parts.push(
      `<section>\n<h2>${escapeHtml(title)}</h2>\n${
        notes.map((note) => `<p class="soft">${escapeHtml(note)}</p>`).join("\n")
      }\n<ul>\n${items.join("\n")}\n</ul>\n</section>`,
    );
  }
  return htmlDocument({
    title,
    style,
    body: `<h1>${escapeHtml(title)}</h1>
${parts.join("\n")}
`,
  });
}
