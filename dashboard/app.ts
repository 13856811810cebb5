import { open } from "node:fs/promises";
import { Hono } from "hono";
import { html, raw } from "hono/html";
import { type Wish, wishes } from "../pipeline/mod.ts";
import { Guard } from "./guard.ts";
import { importMap, type PageFile } from "./page_files.ts";
import { type Runs, WishRefused } from "./runs.ts";

/** What a dashboard is made of. */
export interface AppParts {
  readonly runs: Runs;
  readonly files: ReadonlyMap<string, PageFile>;
  /** Secret of this start, in the address that is printed. */
  readonly token: string;
}

/** A picture larger than this is none that a run made. */
const largestPictureBytes = 64 * 2 ** 20;

/** The dashboard's answers: the page, its files, and what runs tell, as JSON. */
export function dashboardApp({ runs, files, token }: AppParts): Hono {
  const app = new Hono(), guard = new Guard(token, importMap);
  app.use(guard.everywhere);
  app.get("/", (context, next) => {
    const given = context.req.query("token");
    if (given === undefined) return next();
    // The address without the token is what the browser keeps.
    return guard.admits(context, given)
      ? context.redirect("/", 303)
      : context.text("The token is of another start", 401);
  });
  app.use(guard.visitor);
  app.get("/", (context) => context.html(page(token)));
  app.get("/api/runs", async (context) => context.json(await runs.list()));
  app.get("/api/runs/:id", async (context) => {
    const found = await runs.detail(context.req.param("id"));
    return found ? context.json(found) : context.notFound();
  });
  app.get("/api/runs/:id/curves", async (context) => {
    const { step = "", from, version } = context.req.query();
    const found = await runs.curves(context.req.param("id"), step, Number(from) || 0, Number(version) || 0);
    return found ? context.json(found) : context.notFound();
  });
  app.get("/api/runs/:id/pictures/:number{[0-9]+}", async (context) => {
    const path = await runs.picturePath(context.req.param("id"), Number(context.req.param("number")));
    const bytes = path === null ? null : await readPicture(path);
    return bytes ? context.body(bytes, 200, { "Content-Type": "image/png" }) : context.notFound();
  });
  app.post("/api/runs/:id/wish", guard.controller, async (context) => {
    const { wish } = Object(await context.req.json().catch(() => null));
    if (!wishes.includes(wish)) return context.text(`A wish is one of ${wishes.join(", ")}`, 400);
    try {
      await runs.ask(context.req.param("id"), wish as Wish);
    } catch (error) {
      if (error instanceof WishRefused) return context.text(error.message, 409);
      throw error;
    }
    return context.body(null, 204);
  });
  app.get("*", (context) => {
    const file = files.get(context.req.path);
    return file ? context.body(file.content, 200, { "Content-Type": file.type }) : context.notFound();
  });
  app.onError((error, context) => {
    console.error(error);
    return context.text("The dashboard has failed; the terminal says why", 500);
  });
  return app;
}

/** A picture's bytes; null for what is too large to be one, or does not begin as one. */
async function readPicture(path: string): Promise<Uint8Array<ArrayBuffer> | null> {
  const handle = await open(path, "r");
  try {
    if ((await handle.stat()).size > largestPictureBytes) return null;
    const bytes = new Uint8Array(await handle.readFile());
    const isPng = [0x89, 0x50, 0x4e, 0x47].every((byte, at) => bytes[at] === byte);
    return isPng ? bytes : null;
  } finally {
    await handle.close();
  }
}

function page(token: string) {
  return html`
    <!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <meta name="token" content="${token}">
        <title>dualora dashboard</title>
        <link rel="icon" href="/dashboard/page/icon.svg">
        <link rel="stylesheet" href="/packages/uplot.css">
        <link rel="stylesheet" href="/dashboard/page/style.css">
        <link rel="stylesheet" href="/dashboard/page/parts.css">
        <script type="importmap">${raw(importMap)}</script>
        <script type="module" src="/dashboard/page/main.ts"></script>
      </head>
      <body>
        <noscript>This page needs JavaScript, which it loads from this machine alone.</noscript>
        <div id="app"></div>
      </body>
    </html>
  `;
}
