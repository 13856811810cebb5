/** What the notebooks show things with: pictures, plots, tables, progress, and figures that `deno task notebooks` compares. In Deno's Jupyter kernel; elsewhere they print text. */
import { appendFile, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TopLevelSpec } from "vega-lite";
import * as d from "../../mod.ts";

/** Milliseconds for what is shown to get on its way. On a busy machine 100 to 200 of 600 pieces were lost without a wait, one of 1,200 with 20. */
const showMs = 100;

const isKernel = Deno.mainModule.includes("$deno$jupyter");

/** Whether only to show that everything runs, with settings too small for figures that mean anything: `DUALORA_NOTEBOOK=quick`. */
export const quick = Deno.env.get("DUALORA_NOTEBOOK") === "quick";

/** Where a notebook writes: `out/notebooks/<name>` in the project, or in the folder that `DUALORA_NOTEBOOK_FOLDER` names. */
export function folderOf(name: string): string {
  const project = fileURLToPath(new URL("../../", import.meta.url));
  return join(Deno.env.get("DUALORA_NOTEBOOK_FOLDER") ?? join(project, "out", "notebooks"), name);
}

/** Shows something, each way that it can be shown; whoever displays it chooses. */
async function display(ways: { readonly [mime: string]: string | object }, options: Deno.jupyter.DisplayOptions = {}) {
  if (isKernel) {
    await Deno.jupyter.display({ ...ways }, { raw: true, ...options });
    // Deno's kernel may say that a cell is done before what it shows is on its way; whoever listens then misses it.
    await new Promise((resolve) => setTimeout(resolve, showMs));
  } else if (!options.update) console.log(ways["text/plain"]);
}

/** Shows text with marks: tables, lists. */
export async function markdown(text: string): Promise<void> {
  await display({ "text/markdown": text, "text/plain": text });
}

/** Shows a picture in PNG. */
export async function png(bytes: Uint8Array, alt: string): Promise<void> {
  await display({ "image/png": bytes.toBase64(), "text/plain": alt });
}

/** Shows a plot in Vega-Lite: live where the frontend draws it, as SVG elsewhere. */
export async function plot(spec: TopLevelSpec, alt: string): Promise<void> {
  const styled = { config: d.plotStyle, ...spec };
  await display({
    "application/vnd.vegalite.v5+json": { $schema: "https://vega.github.io/schema/vega-lite/v5.json", ...styled },
    "image/svg+xml": await d.plotSvg(styled),
    "text/plain": alt,
  });
}

/** Shows a drawing in SVG. */
export async function svg(text: string, alt: string): Promise<void> {
  await display({ "image/svg+xml": text, "text/plain": alt });
}

/** Shows the first pictures of a folder of folders, as training reads them, with their captions. */
export async function trainingPictures(folder: string, count = 6): Promise<void> {
  const [inner] = (await readdir(folder)).sort(), names = (await readdir(join(folder, inner))).sort();
  const pngs = names.filter((name) => name.endsWith(".png")).slice(0, count);
  const parts = await Promise.all(pngs.map(async (name) => {
    const path = join(folder, inner, name), picture = await readFile(path);
    const text = await readFile(path.replace(/png$/, "txt"), "utf8");
    // What a caption holds is text, such as <lora:a:1>.
    const caption = text.trim().replaceAll("&", "&amp;").replaceAll("<", "&lt;");
    return `<figure style="display:inline-block;width:9em;margin:.3em;font-size:80%"><img width="128" src="data:image/png;base64,${
      picture.toString("base64")
    }"><figcaption>${caption}</figcaption></figure>`;
  }));
  await display({ "text/html": parts.join(""), "text/plain": `${pngs.length} pictures of ${inner}` });
}

/** Pictures of samples: a column for each stack, a row for each seed. */
export async function samples({ columns }: d.SampleSheet, names: readonly string[]): Promise<void> {
  const shown = names.map((name) => columns.find((column) => column.name === name)!);
  const grid = await d.drawGrid({
    columns: shown.map(({ name }) => ({ label: name })),
    rows: shown[0].pictures.map(({ seed }) => ({ label: `seed ${seed}` })),
    cells: shown[0].pictures.map((_, row) => shown.map(({ pictures }) => pictures[row])),
  });
  await png(grid, names.join(" | "));
}

/** Shows how a run gets on, in one line that changes: what its `onEvent` wants. */
export function progress(): (event: d.RunEvent) => void {
  const id = crypto.randomUUID(), done: string[] = [];
  let last = 0, shown = display({ "text/plain": "…" }, { display_id: id });
  const show = (line: string) => {
    const text = [...done, line].filter((part) => part !== "").join("\n");
    shown = shown.then(() => display({ "text/plain": text }, { display_id: id, update: true }));
  };
  return (event) => {
    if (event.type === "step-finished") {
      done.push(d.eventText(event));
      show("");
    } else if (event.type === "progress" && performance.now() - last > 500) {
      last = performance.now();
      show(d.eventText(event));
    } else if (event.type === "warning" || event.type === "step-failed") done.push(d.eventText(event));
  };
}

/**
 * Shows a figure of the notebook's outcome. `deno task notebooks` fails where it is further than `within` from the recorded one.
 *
 * @param within Distance that other adapters may have: they add in another order, and trainings drift apart.
 */
export async function figure(name: string, value: number, within: number): Promise<void> {
  const line = `figure ${name} = ${value} ± ${within}`, file = Deno.env.get("DUALORA_NOTEBOOK_FIGURES");
  if (file !== undefined) await appendFile(file, `${line}\n`);
  await display({ "text/plain": line });
}
