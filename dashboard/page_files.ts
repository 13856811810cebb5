import { readdir, readFile } from "node:fs/promises";
import { stripTypeScriptTypes } from "node:module";
import { fileURLToPath } from "node:url";

/** A file that the page loads. */
export interface PageFile {
  readonly type: string;
  readonly content: string;
}

/** Where the page's scripts find packages: the same file that `import.meta.resolve` finds here may be one for servers. */
const packages = {
  "preact": "preact/dist/preact.mjs",
  "preact/hooks": "preact/hooks/dist/hooks.mjs",
  "htm": "htm/dist/htm.mjs",
  "htm/preact": "htm/preact/index.mjs",
  "uplot": "uplot/dist/uPlot.esm.js",
} as const;

/** Scripts of other folders that the page uses. */
const shared = ["pipeline/text.ts", "steps/report/smooth.ts"];

const project = new URL("../", import.meta.url);
const javascript = "text/javascript; charset=utf-8", css = "text/css; charset=utf-8";

/** The page's script that says where packages are. */
export const importMap: string = JSON.stringify({
  imports: Object.fromEntries(Object.entries(packages).map(([name, path]) => [name, `/packages/${path}`])),
});

/** All files that the page loads, by the path in their address; nothing else can be asked for. TypeScript is sent without its types. */
export async function pageFiles(): Promise<ReadonlyMap<string, PageFile>> {
  const files = new Map<string, PageFile>();
  const read = (path: string) => readFile(fileURLToPath(new URL(path, project)), "utf8");
  const names = await readdir(fileURLToPath(new URL("dashboard/page/", project)));
  const own = names.filter((name) => !name.endsWith("_test.ts")).map((name) => `dashboard/page/${name}`);
  for (const path of [...own, ...shared]) {
    const text = await read(path);
    if (path.endsWith(".ts")) files.set(`/${path}`, { type: javascript, content: stripTypeScriptTypes(text) });
    else files.set(`/${path}`, { type: path.endsWith(".svg") ? "image/svg+xml" : css, content: text });
  }
  for (const path of Object.values(packages)) {
    files.set(`/packages/${path}`, { type: javascript, content: await read(`node_modules/${path}`) });
  }
  files.set("/packages/uplot.css", { type: css, content: await read("node_modules/uplot/dist/uPlot.min.css") });
  return files;
}
