import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import { weightInterference } from "../lora_tools/measure.ts";
import { exampleReport } from "./example_report.ts";
import type { Report } from "./report.ts";
import { reportHtml } from "./report_html.ts";

const png = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0xff, 0x00);
const html = await reportHtml(exampleReport, png);

Deno.test("reportHtml() needs nothing from elsewhere: no script, no link, no address but the SVG namespaces", () => {
  doesNotMatch(html, /<script|<link|<iframe|<object|@import|url\(|\son[a-z]+=/i);
  const addresses = [...html.matchAll(/https?:\/\/[^"'\s<]+/g)].map(([address]) => address);
  deepEqual([...new Set(addresses)].toSorted(), ["http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"]);
  match(
    html,
    /<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'/,
  );
  const sources = [...html.matchAll(/\s(?:src|href)="([^"]*)"/g)].map(([, source]) => source);
  deepEqual(sources, [`data:image/png;base64,${btoa(String.fromCharCode(...png))}`]);
});

Deno.test("reportHtml() gives each plot's parts names of their own", () => {
  const names = [...html.matchAll(/\sid="([^"]*)"/g)].map(([, name]) => name);
  equal(new Set(names).size, names.length);
});

Deno.test("reportHtml() shows outcome, figures with retention, settings, adapter, files and notes", () => {
  match(html, /the stack with orthogonality kept 0\.95 of the identity/);
  match(
    html,
    /stack with orthogonality<\/th><td class="number">0\.52<\/td><td class="number">0\.95<\/td><td class="number">0\.49<\/td><td class="number">0\.72<\/td><td class="number">24</,
  );
  match(html, /steps\.network2<\/th><td>400</);
  match(html, /prompts<\/th><td>white background, pink background</);
  match(html, /llvmpipe \(LLVM 19\.1\.7, 256 bits\)/);
  match(html, /network1\.safetensors<\/th><td class="number">3,456,789<\/td><td><code>3b1f3b1f/);
  match(html, /The outfit alone is network 2 with orthogonality\./);
  match(html, /Made 2026-05-07 14:03 UTC by dualora 0\.1\.0 in 8 min 19 s/);
  equal(html.match(/<svg [^>]*class="marks"/g)?.length, 5);
});

Deno.test("reportHtml() escapes every text of the report", async () => {
  const evil = `"><script>alert(1)</script>'&`;
  const poisoned = poison(exampleReport) as Report;
  const text = await reportHtml({ ...poisoned, columns: [...poisoned.columns] }, png);
  ok(!/<script|<\/script/.test(text), "a script element");
  ok(text.includes("&lt;script&gt;"));

  /** The report with that text in place of every string, but for those that choose a branch. */
  function poison(value: unknown, name = ""): unknown {
    if (typeof value === "string") return name === "kind" ? value : evil;
    if (Array.isArray(value)) return value.map((item) => poison(item));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map((
        [key, item],
      ) => [name === "settings" || name === "versions" ? evil + key : key, poison(item, key)]),
    );
  }
});

Deno.test("reportHtml() shows how the weights of both networks interfere, with a map for each figure", async () => {
  const overlap = { overlap: 0.25, largestCosine: 0.5, byChance: 0.1 };
  const compared = weightInterference([{
    ...{ name: "lora_unet_mid_block_attentions_0_proj_in", ranks: [1, 1], rows: overlap, columns: overlap },
    ...{ cosine: 0.5, norms: [2, 4], foreign: [1, 3] },
  }]);
  const text = await reportHtml({ ...exampleReport, interference: { networks: ["<one>", "two"], ...compared } }, png);
  match(text, /1 is &lt;one&gt;, 2 is two, each at a strength of 1/);
  match(text, /unet<\/th><td class="number">1<\/td><td class="number">0\.250</);
  match(text, /<h3>Overlap of what they read \(row spaces\): UNet<\/h3>/);
  // ‖ΔW₂V₁‖ / ‖ΔW₁‖ = 1/2, the other way 3/4.
  match(text, />\.50<\/text>/);
  match(text, />\.75<\/text>/);
  equal(text.match(/<h3>[^<]*: UNet<\/h3>/g)?.length, 4);
});

Deno.test("reportHtml() leaves out sections that have nothing to show", async () => {
  const text = await reportHtml({ ...exampleReport, training: [], stages: [], notes: [], columns: [] }, png);
  doesNotMatch(text, /<h2>(Training|Time|Notes)</);
  match(text, /<h2>Settings</);
});
