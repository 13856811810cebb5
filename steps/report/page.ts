import { escapeHtml, htmlDocument } from "./html.ts";

const style = `
:root { color-scheme: light dark; --ink: #1a1a1a; --soft: #5c5c5c; --line: #d8d8d8; --paper: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececec; --soft: #a9a9a9; --line: #444444; --paper: #161616; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 58rem; padding: 2.5rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
section { overflow-x: auto; }
h1 { margin: 0 0 0.75rem; font-size: 1.75rem; line-height: 1.2; }
h2 { margin: 2.75rem 0 0.75rem; padding-top: 0.75rem; border-top: 1px solid var(--line); font-size: 1.2rem; }
h3 { margin: 0 0 0.25rem; font-size: 1rem; color: #1a1a1a; }
p { margin: 0 0 0.75rem; max-width: 46rem; }
.lead { font-size: 1.15rem; }
.soft, figcaption { color: var(--soft); font-size: 0.875rem; }
figure { margin: 1rem 0; padding: 1rem; background: #ffffff; border: 1px solid var(--line); border-radius: 4px;
  break-inside: avoid; }
figure figcaption { color: #5c5c5c; margin-top: 0.5rem; }
figure img, figure svg { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.drawing { overflow-x: auto; }
.legend { display: flex; flex-wrap: wrap; gap: 0.1rem 1.5rem; margin: 0.25rem 0 0.75rem; padding: 0; list-style: none;
  color: #1a1a1a; font-size: 0.8125rem; }
.legend svg { display: inline-block; margin: 0 0.5rem 0 0; vertical-align: middle; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 0 1rem; }
table + p { margin-top: 0.5rem; }
p + table { margin-top: 1.75rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 0.9375rem; }
th, td { padding: 0.4rem 0.75rem 0.4rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid var(--ink); vertical-align: bottom; line-height: 1.25; }
tbody th { font-weight: normal; }
.number { text-align: right; }
.key { color: var(--soft); width: 35%; }
tr.stack > * { font-weight: bold; }
tr { break-inside: avoid; }
code { font-family: ui-monospace, monospace; font-size: 0.875em; overflow-wrap: anywhere; }
/* On a phone a drawing is as wide as its letters need, and moves sideways. */
@media (max-width: 40rem) { .drawing svg { max-width: none; min-width: 34rem; } }
@media print {
  :root { color-scheme: light; --ink: #000000; --soft: #444444; --line: #bbbbbb; --paper: #ffffff; }
  body { max-width: none; padding: 0; font-size: 0.85rem; }
  section, .drawing { overflow: visible; }
  .drawing svg { max-width: 100%; min-width: 0; }
  h2 { break-after: avoid; margin-top: 1.5rem; }
  figure img { max-height: 17cm; }
}
`;

/** What a page of a report shows. */
export interface Page {
  readonly title: string;
  readonly heading: string;
  /** The outcome in a sentence. */
  readonly lead: string;
  /** HTML: what the outcome must be read with. */
  readonly note: string;
  /** HTML; empty ones are left out. */
  readonly sections: readonly string[];
}

/** A page as one HTML file that needs no network, no script and no other file; readable in black and white, on paper and in the dark. */
export function htmlPage({ title, heading, lead, note, sections }: Page): string {
  return htmlDocument({
    title,
    style,
    body: `<header>
<h1>${escapeHtml(heading)}</h1>
<p class="lead">${escapeHtml(lead)}</p>
<p class="soft">${note}</p>
</header>
<main>
${sections.filter((text) => text !== "").join("\n")}
</main>
`,
  });
}

/** A section under a title, empty without parts. */
export function section(title: string, parts: readonly string[]): string {
  return parts.length === 0 ? "" : `<section>\n<h2>${escapeHtml(title)}</h2>\n${parts.join("\n")}\n</section>`;
}

/** Pairs as a table; empty values are dashes. */
export function keyTable(rows: readonly (readonly [string, string])[]): string {
  const lines = rows.map(([key, value]) =>
    `<tr><th scope="row" class="key">${escapeHtml(key)}</th><td>${escapeHtml(value || "–")}</td></tr>`
  );
  return `<table><tbody>${lines.join("")}</tbody></table>`;
}
