import { escapeHtml } from "../../steps/report/html.ts";
import type { ProfileNode, ProgramProfile } from "./profile.ts";

/** Narrower parts are left out: nobody could see them. */
const smallestShare = 0.0005;

/** Profiles as one HTML page without scripts: for each program its scopes as bars, each as wide as its share of the time, over the bars within it. */
export function flameGraphHtml(title: string, adapter: string, profiles: readonly ProgramProfile[]): string {
  const graphs = profiles.map((profile) =>
    `<section><h2>${escapeHtml(profile.name)}</h2><p>${
      profile.milliseconds.toFixed(1)
    } ms a run, ${profile.runs} runs, ${profile.dispatches} dispatches</p>
<div class="graph">${bar(profile.tree, profile.milliseconds, profile.milliseconds, 0)}</div></section>`
  );
  return `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeHtml(title)}</title>
<style>
:root { color-scheme: light dark; }
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; }
.graph, .row { display: flex; width: 100%; }
.node { overflow: hidden; min-width: 0; }
.name { display: block; height: 1.35em; overflow: hidden; white-space: nowrap; text-overflow: ellipsis; padding: 0 3px; border: 1px solid Canvas;
  border-radius: 2px; color: #1a1a1a; font-size: 12px; }
</style></head><body><h1>${escapeHtml(title)}</h1><p>${
    escapeHtml(adapter)
  }. A bar is as wide as its share of the time; hover for figures.</p>
${graphs.join("\n")}
</body></html>
`;
}

function bar(node: ProfileNode, parentMs: number, totalMs: number, depth: number): string {
  const share = node.milliseconds / totalMs, width = 100 * node.milliseconds / parentMs;
  if (share < smallestShare) return "";
  const children = [...node.children.values()].toSorted((a, b) => b.milliseconds - a.milliseconds)
    .map((child) => bar(child, node.milliseconds, totalMs, depth + 1)).join("");
  const figures = `${node.name}: ${node.milliseconds.toFixed(2)} ms, ${
    (100 * share).toFixed(1)
  } %, ${node.steps} steps`;
  const hue = (30 + 37 * depth) % 360;
  return `<div class="node" style="width:${width.toFixed(3)}%" title="${
    escapeHtml(figures)
  }"><span class="name" style="background:hsl(${hue} 70% 75%)">${
    escapeHtml(node.name)
  }</span><div class="row">${children}</div></div>`;
}
