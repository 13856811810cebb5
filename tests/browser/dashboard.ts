import { deepEqual, equal, match, ok } from "node:assert/strict";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "playwright-core";
import { startChromium } from "./chromium.ts";

const project = fileURLToPath(new URL("../../", import.meta.url)), pictures = join(project, "out", "browser");

/** Starts a program as the tasks do. */
function launch(script: string, ...args: string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", `--config=${project}deno.json`, "-P=launch", join(project, "tools/launch.ts"), script, ...args],
    cwd: project,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
}

/** The dashboard's address, from what it prints. */
async function addressOf(dashboard: Deno.ChildProcess): Promise<string> {
  let text = "";
  for await (const piece of dashboard.stdout.pipeThrough(new TextDecoderStream())) {
    text += piece;
    const address = /http:\/\/127\.0\.0\.1:\d+\/\?token=\S+/.exec(text)?.[0];
    if (address !== undefined) return address;
  }
  throw new Error(`The dashboard told no address: ${text}`);
}

/** A page with the dashboard, and what went wrong in it. */
async function openPage(browser: Browser, address: string): Promise<{ page: Page; problems: string[] }> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, colorScheme: "light" });
  const problems: string[] = [], { host } = new URL(address);
  page.setDefaultTimeout(40_000);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("request", (request) => new URL(request.url()).host !== host && problems.push(`asked ${request.url()}`));
  page.on(
    "response",
    (response) => response.status() >= 400 && problems.push(`${response.status()} ${response.url()}`),
  );
  await page.goto(address);
  return { page, problems };
}

/** Steps done, as the run's head says. */
async function stepsDone(page: Page): Promise<number> {
  const text = await page.locator(".head .now").innerText();
  return Number(/(\d+) of \d+ steps/.exec(text)?.[1] ?? 0);
}

const stateOf = (page: Page) => page.locator(".head .badge");

async function shot(page: Page, name: string): Promise<void> {
  await mkdir(pictures, { recursive: true });
  await page.screenshot({ path: join(pictures, `${name}.png`) });
}

Deno.test("the dashboard shows a training as it runs, and pauses, saves and stops it, in a browser", async (test) => {
  const folder = await Deno.makeTempDir({ prefix: "dualora-browser-" }), children: Deno.ChildProcess[] = [];
  const start = (...words: [string, ...string[]]) => {
    const child = launch(...words);
    children.push(child);
    return child;
  };
  const training = join(project, "tests/browser/training.ts");
  try {
    const browser = await startChromium();
    await using _closing = { [Symbol.asyncDispose]: () => browser.close() };
    const dashboard = start(join(project, "dashboard/main.ts"), folder), address = await addressOf(dashboard);
    const { page, problems } = await openPage(browser, address);
    equal(new URL(page.url()).search, "", "the token stays in no address");
    await page.getByText("No runs in this folder yet").waitFor();

    const first = start(training, folder, "first", "3000");
    first.stdout.pipeTo(Deno.stderr.writable, { preventClose: true });
    await test.step("curves, progress and time left move by themselves", async () => {
      await page.getByRole("heading", { name: "first/run" }).waitFor();
      for (const title of ["Loss", "Orthogonality terms", "Learning rates"]) {
        await page.locator(".plot", { hasText: title }).locator("canvas").first().waitFor();
      }
      await page.getByText(/\d+ of 3000 steps, [\d.e-]+ s\/step, .* left/).first().waitFor();
      const legend = page.locator(".plot", { hasText: "Loss" }).locator(".legend").first();
      const [before, values] = [await stepsDone(page), await legend.innerText()];
      for (const deadline = Date.now() + 60_000; await stepsDone(page) <= before; await delay(200)) {
        ok(Date.now() < deadline, "no further step in a minute");
      }
      ok(await legend.innerText() !== values);
      match(await page.title(), /^\d+ % · first\/run · dualora$/);
      ok(await inkOf(page) > 300, "the plot is empty");
    });
    await test.step("pictures come with prompt, step and network, and what a prompt holds is text", async () => {
      const prompt = '“a sks person & <b>"bold"</b>”';
      for (const networks of ["network 1", "network 2", "both networks"]) {
        const picture = page.getByAltText(`${networks}: ${prompt}, step 30, seed 7`);
        await picture.waitFor();
        await picture.scrollIntoViewIfNeeded();
        await page.waitForFunction(
          (image) => (image as unknown as { naturalWidth: number }).naturalWidth === 64,
          await picture.elementHandle(),
        );
      }
      equal(await page.locator(".strip b").count(), 0);
      await page.getByAltText(`both networks: ${prompt}, step 30, seed 7`).click();
      await page.getByRole("dialog").getByText("mine_stack_").waitFor();
      await page.keyboard.press("Escape");
      equal(await page.getByRole("dialog").count(), 0);
    });
    await shot(page, "light");
    await test.step("the keyboard alone pauses, resumes, saves and stops", async () => {
      await page.keyboard.press("p");
      await stateOf(page).getByText("paused").waitFor();
      const paused = await stepsDone(page);
      await delay(2500);
      equal(await stepsDone(page), paused);
      await shot(page, "paused");
      await page.keyboard.press("p");
      await stateOf(page).getByText("running").waitFor();
      await page.keyboard.press("s");
      await page.locator(".messages").getByText(/saved .*mine-step\d{8}\.safetensors/).waitFor();
      const saved = (await readdir(join(folder, "first", "saved"))).filter((name) => !name.startsWith("."));
      equal(saved.filter((name) => /^mine(_2)?-step\d{8}(\.safetensors|-state)$/.test(name)).length, 3, `${saved}`);
      await stateOf(page).getByText("running").waitFor();
      await page.keyboard.press("x");
      await page.getByRole("dialog").waitFor();
      await page.keyboard.press("Escape");
      await stateOf(page).getByText("running").waitFor();
      await page.keyboard.press("x");
      // The dialog begins at its first button.
      await page.keyboard.press("Enter");
      await stateOf(page).getByText("stopped").waitFor();
      equal((await first.status).code, 75);
    });
    await test.step("a second run is laid over the first, in dashes and names of their own", async () => {
      const second = start(training, folder, "second", "20");
      second.stdout.pipeTo(Deno.stderr.writable, { preventClose: true });
      // The page goes to the run that began last, until another is chosen.
      await page.getByRole("heading", { name: "second/run" }).waitFor();
      await page.keyboard.press("j");
      await page.getByRole("heading", { name: "first/run" }).waitFor();
      await page.keyboard.press("o");
      await page.keyboard.press("k");
      await page.getByRole("heading", { name: "second/run" }).waitFor();
      equal((await second.status).code, 0);
      await stateOf(page).getByText("finished").waitFor();
      const rows = page.locator(".plot").first().locator(".legend tbody tr");
      await page.locator(".legend").getByText("B second/run: network 2").first().waitFor();
      deepEqual(await rows.locator("th").allInnerTexts(), [
        "A first/run: network 1",
        "A first/run: network 2",
        "B second/run: network 1",
        "B second/run: network 2",
      ]);
      const samples = await rows.locator("line").evaluateAll((lines) =>
        lines.map((line) =>
          (line as unknown as { getAttribute(name: string): string }).getAttribute("stroke-dasharray")
        )
      );
      equal(new Set(samples).size, 4);
      await shot(page, "two-runs");
    });
    await test.step("arrows read a plot step by step", async () => {
      const plot = page.locator(".plot").first();
      await plot.locator(".chart").focus();
      await page.keyboard.press("Home");
      await plot.getByText("at step 1", { exact: true }).waitFor();
      await page.keyboard.press("ArrowRight");
      await plot.getByText("at step 2", { exact: true }).waitFor();
      // As the run's journal has it.
      const lines = (await readFile(join(folder, "second", "run", "journal.jsonl"), "utf8")).trimEnd().split("\n");
      const told = lines.map((line) => JSON.parse(line)).find(({ figures }) => figures?.step === 2).figures.loss_1;
      const shown = await plot.locator("tr", { hasText: "B second/run: network 1" }).locator("td").innerText();
      ok(Math.abs(Number(shown) / told - 1) < 0.005, `${shown} for ${told}`);
      await page.keyboard.press("Escape");
    });
    await test.step("Tab begins with links to the parts of the page, and what has the focus is outlined", async () => {
      await page.reload();
      await page.getByRole("heading", { name: "second/run" }).waitFor();
      await page.keyboard.press("Tab");
      const link = page.getByRole("link", { name: "Skip to runs" });
      ok((await link.boundingBox())!.x >= 0);
      await page.keyboard.press("Tab");
      await page.keyboard.press("Tab");
      await page.keyboard.press("Enter");
      equal(await page.evaluate("document.activeElement.id || location.hash"), "curves");
      for (let press = 0; press < 3; press++) {
        await page.keyboard.press("Tab");
        match(await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") as string, /solid|auto/);
      }
      await page.keyboard.press("?");
      await page.getByRole("dialog").getByText("keep this run's curves").waitFor();
      await page.keyboard.press("Escape");
    });
    await test.step("only what changes seldom is read out", async () => {
      const live = await page.locator("[role=status], [aria-live]").allInnerTexts();
      ok(live.every((text) => !/\d+ of \d+/.test(text)), `${live}`);
    });
    await test.step("in the dark the page and its plots are dark, and text stands out", async () => {
      for (const scheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme: scheme });
        await delay(600);
        const [paper, ink, soft, card] = await page.evaluate(`["--paper", "--ink", "--soft", "--card"].map((name) =>
          getComputedStyle(document.documentElement).getPropertyValue(name).trim())`) as string[];
        ok(contrast(ink, paper) > 7 && contrast(soft, card) > 4.5, scheme);
        equal(luminance(paper) < 0.05, scheme === "dark");
        const lines = await page.evaluate(`[0,1,2,3,4,5,6,7].map((at) =>
          getComputedStyle(document.documentElement).getPropertyValue("--line-" + at).trim())`) as string[];
        for (const line of lines) ok(contrast(line, card) > 3, `${scheme} ${line}`);
        ok(await inkOf(page) > 300);
      }
      await shot(page, "dark");
    });
    await test.step("a phone shows all of it without scrolling sideways, with buttons large enough for fingers", async () => {
      await page.setViewportSize({ width: 390, height: 844 });
      await delay(600);
      const [inner, scroll] = await page.evaluate("[innerWidth, document.documentElement.scrollWidth]") as number[];
      ok(scroll <= inner, `${scroll} > ${inner}`);
      for (const button of await page.locator("button:visible, select:visible").all()) {
        const { height } = (await button.boundingBox())!;
        ok(height >= 44, `${await button.innerText()}: ${height}`);
      }
      await shot(page, "phone-dark");
      await page.emulateMedia({ colorScheme: "light" });
      await delay(300);
      await page.screenshot({ path: join(pictures, "phone.png"), fullPage: true });
    });
    await test.step("the page asked this machine alone, and no error came up", () => deepEqual(problems, []));
    await test.step("without its program the page says so", async () => {
      dashboard.kill("SIGTERM");
      await page.getByText("does not answer").first().waitFor();
    });
  } finally {
    for (const child of children) await end(child);
    await Deno.remove(folder, { recursive: true });
  }
});

/** Ends a program, if it has not ended yet. */
async function end(child: Deno.ChildProcess): Promise<void> {
  try {
    child.kill("SIGTERM");
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
  }
  await child.status;
}

/** Pixels of the first plot that are neither see-through nor grey. */
async function inkOf(page: Page): Promise<number> {
  return await page.evaluate(`(() => {
    const canvas = document.querySelector(".plot canvas"), context = canvas.getContext("2d");
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let at = 0; at < data.length; at += 4) {
      const [red, green, blue, alpha] = data.slice(at, at + 4);
      if (alpha > 128 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60) count++;
    }
    return count;
  })()`) as number;
}

/** Relative luminance of a colour `#rrggbb`, as WCAG 2.2 defines it. */
function luminance(colour: string): number {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const part = parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** Contrast of two colours, 1 to 21, as WCAG 2.2 defines it. */
function contrast(a: string, b: string): number {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}
