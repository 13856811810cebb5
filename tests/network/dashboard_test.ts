import { deepEqual, equal, match, ok } from "node:assert/strict";
import { appendFile, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { dashboardApp } from "../../dashboard/app.ts";
import { pageFiles } from "../../dashboard/page_files.ts";
import type { Curves, RunDetail, RunSummary } from "../../dashboard/run_view.ts";
import { Runs } from "../../dashboard/runs.ts";
import type { JournalLine } from "../../pipeline/mod.ts";

const token = "secret-of-this-start", png = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 1, 2, 3]);
const training = { step: "train both networks", index: 1 };

/** A journal's beginning, of a run of two steps. */
function journal(id: string, time = 1000): JournalLine[] {
  return [
    { type: "run-started", id, recipe: "small", folder: "", steps: ["load bases", training.step] },
    { type: "step-started", step: "load bases", index: 0, because: "first run", resumes: false },
    { type: "step-finished", step: "load bases", index: 0, seconds: 2.5 },
    { type: "step-started", ...training, because: "first run", resumes: false },
    { type: "figures", ...training, figures: { step: 1, epoch: 1, loss_1: 0.5 } },
    { type: "figures", ...training, figures: { step: 2, epoch: 1, loss_1: 0.4 } },
    { type: "progress", ...training, done: 2, total: 8, unit: "steps", secondsEach: 1.5, etaSeconds: 9 },
  ].map((event) => ({ time, ...event } as JournalLine));
}

const linesText = (lines: readonly unknown[]) => lines.map((line) => `${JSON.stringify(line)}\n`).join("");

async function writeRun(folder: string, lines: readonly unknown[]): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "run.lock"), "");
  await writeFile(join(folder, "journal.jsonl"), linesText(lines));
}

/** What a run without a journal leaves: steps by their names, and the figures that their networks keep. */
async function writeSteps(folder: string, steps: readonly (readonly [name: unknown, log: unknown])[]): Promise<void> {
  for (const [at, [name, log]] of steps.entries()) {
    const path = join(folder, "steps", `0${at}-step`), product = join(path, "product", "network1");
    await mkdir(product, { recursive: true });
    await writeFile(join(path, "manifest.json"), JSON.stringify({ inputs: { step: name }, seconds: 3 }));
    await writeFile(join(product, "network.json"), JSON.stringify({ log }));
  }
  await writeFile(join(folder, "run.lock"), "");
}

/** A dashboard over a folder, as a browser with the cookie sees it. */
async function withDashboard(
  test: (dashboard: {
    folder: string;
    address: string;
    /** Asks with the cookie; `init.headers` come on top. */
    ask(path: string, init?: RequestInit): Promise<Response>;
    json<Found>(path: string): Promise<Found>;
    wish(id: string, wish: unknown, headers?: Record<string, string>): Promise<Response>;
  }) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "dualora-dashboard-" }), root = join(folder, "out");
  await mkdir(root);
  const app = dashboardApp({ runs: await Runs.open(root), files: await pageFiles(), token });
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, app.fetch);
  try {
    const address = `http://127.0.0.1:${server.addr.port}`;
    const entry = await fetch(`${address}/?token=${token}`, { redirect: "manual" });
    await entry.body?.cancel();
    const [cookie] = entry.headers.getSetCookie()[0].split(";");
    const ask = (path: string, init: RequestInit = {}) =>
      fetch(address + path, { ...init, headers: { Cookie: cookie, ...init.headers as Record<string, string> } });
    await test({
      ...{ folder: root, address, ask },
      json: async (path) => await (await ask(path)).json(),
      wish: (id, wish, headers = { "Origin": address, "X-Dashboard-Token": token }) =>
        ask(`/api/runs/${id}/wish`, { method: "POST", headers, body: JSON.stringify({ wish }) }),
    });
  } finally {
    await server.shutdown();
    await Deno.remove(folder, { recursive: true });
  }
}

/** A raw request: `fetch` sets some headers itself. */
async function raw(address: string, lines: readonly string[]): Promise<{ status: number; text: string }> {
  const { hostname, port } = new URL(address);
  using connection = await Deno.connect({ hostname, port: Number(port) });
  await connection.write(new TextEncoder().encode(`${lines.join("\r\n")}\r\nConnection: close\r\n\r\n`));
  const text = await new Response(connection.readable, {}).text();
  return { status: Number(text.split(" ")[1]), text };
}

Deno.test("runs below a folder are listed with what they do, and curves grow as the journal does, half lines left out", () =>
  withDashboard(async ({ folder, json }) => {
    await writeRun(join(folder, "a", "run"), [...journal("one", 1000), {
      time: 1010,
      type: "run-interrupted",
      message: "Interrupted",
    }]);
    await writeRun(join(folder, "b"), journal("two", 2000));
    const runs = await json<RunSummary[]>("/api/runs");
    deepEqual(runs.map(({ name, state, trainings }) => ({ name, state, trainings })), [
      { name: "b", state: "lost", trainings: [training.step] },
      { name: "a/run", state: "stopped", trainings: [training.step] },
    ]);
    const [{ id }] = runs, detail = await json<RunDetail>(`/api/runs/${id}`);
    deepEqual(detail.steps, [
      { name: "load bases", state: "done", seconds: 2.5 },
      {
        ...{ name: training.step, state: "at work" },
        progress: { done: 2, total: 8, unit: "steps", secondsEach: 1.5, etaSeconds: 9 },
      },
    ]);
    const path = `/api/runs/${id}/curves?step=${encodeURIComponent(training.step)}`;
    const first = await json<Curves>(path);
    deepEqual(first.rows, [{ step: 1, epoch: 1, loss_1: 0.5 }, { step: 2, epoch: 1, loss_1: 0.4 }]);
    const more = (curves: Curves) => json<Curves>(`${path}&from=${curves.next}&version=${curves.version}`);
    const [half, rest] = [
      '{"time":2001,"type":"figures","step":"train both networks","index":1,"fig',
      'ures":{"step":3,"epoch":1,"loss_1":0.3}}\n',
    ];
    await appendFile(join(folder, "b", "journal.jsonl"), half);
    deepEqual((await more(first)).rows, []);
    await appendFile(join(folder, "b", "journal.jsonl"), rest);
    const second = await more(first);
    deepEqual(second.rows, [{ step: 3, epoch: 1, loss_1: 0.3 }]);
    // A run that was killed in the middle of a line, and goes on: the steps before are told once more.
    const again = journal("three", 2100).map((line) =>
      line.type === "step-started" ? { ...line, resumes: true } : line
    );
    await appendFile(join(folder, "b", "journal.jsonl"), `{"time":20\n${linesText(again)}`);
    deepEqual((await more(second)).rows, []);
    // Begun anew, what was there is no more.
    await appendFile(join(folder, "b", "journal.jsonl"), linesText(journal("four", 2200)));
    deepEqual((await more(second)).rows, first.rows);
  }));

Deno.test("a journal that is none, or of another shape, hides no other run", () =>
  withDashboard(async ({ folder, json }) => {
    await writeRun(join(folder, "good"), journal("one"));
    const at = { time: 3000, ...training };
    const strange = [
      ...[null, 1, [], {}, { type: "figures" }, { time: 3000, type: "run-started", id: "x" }, {
        time: 3000,
        type: "leap",
      }],
      ...[{ ...at, type: "figures" }, { ...at, type: "figures", figures: null }, { ...at, type: "artifact", path: 7 }],
      ...[{ ...at, type: "progress", index: 1e9 }, { ...at, type: "step-started", index: "__proto__" }],
    ];
    await writeRun(join(folder, "strange"), strange);
    await appendFile(join(folder, "strange", "journal.jsonl"), new Uint8Array([0, 255, 10, 254, 123]));
    await mkdir(join(folder, "good", "control.json"));
    await mkdir(join(folder, "strange", "control.json"));
    const runs = await json<RunSummary[]>("/api/runs");
    deepEqual(runs.map(({ name }) => name).sort(), ["good", "strange"]);
    const { messages, steps } = await json<RunDetail>(`/api/runs/${runs.find(({ name }) => name === "strange")!.id}`);
    deepEqual(steps, []);
    ok(messages.length > 0 && messages.every(({ text }) => text.startsWith("a line of the journal cannot be shown")));
  }));

Deno.test("a line of a journal is read however many pieces it comes in, and one that no run writes is passed over", () =>
  withDashboard(async ({ folder, json }) => {
    const [start] = journal("one"), step = { time: 1001, ...training, type: "figures" };
    const long = { ...step, figures: { step: 1, epoch: 1, loss_1: 0.5, ["x".repeat(3 << 20)]: 1 } };
    const last = { ...step, figures: { step: 2, epoch: 1, loss_1: 0.25 } };
    await writeRun(join(folder, "a"), [start, long]);
    const path = join(folder, "a", "journal.jsonl");
    await appendFile(path, "y".repeat(17 << 20));
    const [{ id }] = await json<RunSummary[]>("/api/runs");
    await appendFile(path, `yy\n${linesText([last])}`);
    const { messages } = await json<RunDetail>(`/api/runs/${id}`);
    deepEqual(messages.map(({ text }) => text), ["a line of the journal cannot be shown: it has 17825794 bytes"]);
    const { rows } = await json<Curves>(`/api/runs/${id}/curves?step=${encodeURIComponent(training.step)}`);
    deepEqual(rows.map(({ loss_1 }) => loss_1), [0.5, 0.25]);
  }));

Deno.test("a link that takes a journal's place is not followed", () =>
  withDashboard(async ({ folder, json }) => {
    const path = join(folder, "a", "journal.jsonl"), other = join(dirname(folder), "other.jsonl");
    await writeRun(join(folder, "a"), journal("one"));
    await writeFile(other, linesText(journal("secret")));
    equal((await json<RunSummary[]>("/api/runs")).length, 1);
    await Deno.remove(path);
    await symlink(other, path);
    deepEqual(await json<RunSummary[]>("/api/runs"), []);
  }));

Deno.test("a run folder without a journal shows its finished steps and the figures that its networks keep, each once", () =>
  withDashboard(async ({ folder, json }) => {
    const log = [{ step: 0, epoch: 0, values: { loss_1: 0.5 } }];
    const more = [...log, { step: 0, epoch: 0, values: { loss_1: 0.25, orth_te: 1 } }];
    await writeSteps(join(folder, "old"), [["pretrain network 1", log], ["train network 2", more]]);
    // Of another shape, they hide no other run.
    await writeSteps(join(folder, "strange"), [["no list", 7], ["no figures", [null]], ["no step's", [{ step: 0 }]]]);
    await writeSteps(join(folder, "stranger"), [[7, []], [null, []]]);
    const found = await json<RunSummary[]>("/api/runs");
    deepEqual(found.map(({ name }) => name).sort(), ["old", "strange"]);
    const { id, state, trainings } = found.find(({ name }) => name === "old")!;
    deepEqual([state, trainings], ["finished", ["pretrain network 1", "train network 2"]]);
    deepEqual((await json<Curves>(`/api/runs/${id}/curves?step=train%20network%202`)).rows, [
      { step: 1, epoch: 1, loss_1: 0.25, orth_te: 1 },
    ]);
  }));

Deno.test("nothing is told without the token, to another host's name, to another page, or to what says it comes from one", () =>
  withDashboard(async ({ folder, address, ask }) => {
    await writeRun(join(folder, "a"), journal("one"));
    const { host, port } = new URL(address), paths = ["/", "/api/runs", "/dashboard/page/main.ts"];
    const status = async (response: Promise<Response>) => {
      const { status, body } = await response;
      await body?.cancel();
      return status;
    };
    equal(await status(ask("/api/runs")), 200);
    equal(await status(ask("/api/runs", { headers: { Origin: address } })), 200);
    equal((await raw(address, ["GET /?token=secret-of-this-star HTTP/1.1", `Host: ${host}`])).status, 401);
    for (const path of paths) {
      equal((await raw(address, [`GET ${path} HTTP/1.1`, `Host: ${host}`])).status, 401, path);
      equal(await status(ask(path, { headers: { Cookie: `dualora_${port}=x` } })), 401);
      for (const name of ["evil.example", `evil.example:${port}`, "127.0.0.1.evil.example", `0.0.0.0:${port}`, ""]) {
        const cookie = `Cookie: dualora_${port}=${token}`;
        equal((await raw(address, [`GET ${path} HTTP/1.1`, `Host: ${name}`, cookie])).status, 403, name);
      }
      for (const origin of ["http://evil.example", "null", `http://127.0.0.1:${Number(port) + 1}`, `https://${host}`]) {
        equal(await status(ask(path, { headers: { Origin: origin } })), 403, origin);
      }
      for (const site of ["cross-site", "same-site"]) {
        equal(await status(ask(path, { headers: { "Sec-Fetch-Site": site } })), 403, site);
      }
    }
  }));

Deno.test("the page loads nothing from elsewhere and runs no script of others", () =>
  withDashboard(async ({ ask }) => {
    const response = await ask("/"),
      policy = response.headers.get("Content-Security-Policy")!,
      page = await response.text();
    match(
      policy,
      /^default-src 'none'; script-src 'self' 'sha256-[A-Za-z0-9+/]{43}='; style-src 'self'; img-src 'self'; connect-src 'self'/,
    );
    for (const rule of ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]) {
      ok(policy.includes(rule), rule);
    }
    equal(response.headers.get("X-Content-Type-Options"), "nosniff");
    equal(/https?:\/\//.test(page), false);
    for (const [, path] of page.matchAll(/(?:src|href)="([^"]+)"/g)) {
      const file = await ask(path);
      await file.body?.cancel();
      equal(file.status, 200, path);
      equal(file.headers.get("Content-Security-Policy"), policy);
    }
  }));

Deno.test("no path leads out of the folder: neither one that is asked for, nor one that a journal names, nor a link", () =>
  withDashboard(async ({ folder, ask, json, address }) => {
    const run = join(folder, "a"), outside = join(folder, "..", "outside.png");
    for (const path of [join(run, "good.png"), outside]) {
      await mkdir(run, { recursive: true });
      await writeFile(path, png);
    }
    await writeFile(join(run, "text.png"), "no picture");
    await writeFile(join(run, "secret.txt"), png);
    await symlink(outside, join(run, "link.png"));
    const names = ["good.png", "../../outside.png", outside, "link.png", "text.png", "gone.png", "secret.txt"];
    await writeRun(run, [
      ...journal("one"),
      ...names.map((path) => ({ time: 1, type: "artifact", ...training, path })),
    ]);
    const [{ id }] = await json<RunSummary[]>("/api/runs"), { pictures } = await json<RunDetail>(`/api/runs/${id}`);
    equal(pictures.length, 6);
    equal(JSON.stringify(pictures).includes(folder), false);
    const statuses = [];
    for (const { number } of pictures) {
      const response = await ask(`/api/runs/${id}/pictures/${number}`),
        bytes = new Uint8Array(await response.arrayBuffer());
      statuses.push(response.status);
      if (response.status !== 200) continue;
      deepEqual(bytes, png);
      equal(response.headers.get("Content-Type"), "image/png");
    }
    deepEqual(statuses, [200, 404, 404, 404, 404, 404]);
    // A link in the place of a journal, of the steps or of a manifest.
    const other = join(folder, "..", "other");
    await writeRun(other, journal("outside"));
    await writeSteps(other, [["outside", []]]);
    await mkdir(join(folder, "b"));
    await symlink(join(other, "journal.jsonl"), join(folder, "b", "journal.jsonl"));
    for (const [name, link] of [["c", "steps"], ["d", "steps/00-step/manifest.json"]]) {
      await mkdir(join(folder, name, dirname(link)), { recursive: true });
      await writeFile(join(folder, name, "run.lock"), "");
      await symlink(join(other, link), join(folder, name, link));
    }
    const runs = await Runs.open(folder);
    deepEqual((await runs.list()).map(({ name }) => name), ["a"]);
    const port = new URL(address).port, cookie = `Cookie: dualora_${port}=${token}`;
    for (
      const path of [
        "/../deno.json",
        "/dashboard/page/../main.ts",
        "/dashboard/page/..%2fmain.ts",
        "/dashboard/main.ts",
        "/deno.json",
        "//etc/passwd",
        "/packages/../deno.json",
        "/api/runs/..%2f..",
        `/api/runs/${id}/pictures/..%2f..%2foutside.png`,
        `/api/runs/${id}/pictures/-1`,
        `/api/runs/${id}/pictures/99`,
        "/api/runs/__proto__",
      ]
    ) {
      const { status, text } = await raw(address, [`GET ${path} HTTP/1.1`, `Host: 127.0.0.1:${port}`, cookie]);
      equal(status, 404, `${path}: ${text.slice(0, 80)}`);
    }
  }));

Deno.test("wishes reach a run at work by its control file alone, with the token, from the page itself", () =>
  withDashboard(async ({ folder, address, json, wish, ask }) => {
    const run = join(folder, "a"), control = join(run, "control.json");
    await writeRun(run, journal("this start"));
    const { id } = (await json<RunSummary[]>("/api/runs"))[0];
    const status = async (response: Promise<Response>) =>
      [(await response).status, await (await response).text()] as const;
    deepEqual(await status(wish(id, "pause")), [409, "This run is not at work"]);
    // From here on it works: its lock is held.
    using file = await Deno.open(join(run, "run.lock"), { read: true, write: true });
    await file.lock(true);
    equal((await json<RunSummary[]>("/api/runs"))[0].state, "running");
    for (
      const headers of [
        { "X-Dashboard-Token": token },
        { "Origin": "http://evil.example", "X-Dashboard-Token": token },
        { "Origin": address },
        { "Origin": address, "X-Dashboard-Token": "x" },
      ]
    ) ok([401, 403].includes((await status(wish(id, "pause", headers as Record<string, string>)))[0]));
    for (const bad of ["leap", 1, null, "../pause", "__proto__"]) equal((await status(wish(id, bad)))[0], 400);
    equal((await status(wish(id, "resume")))[0], 409);
    equal((await status(ask(`/api/runs/${id}/wish`)))[0], 404);
    deepEqual((await readdir(run)).sort(), ["journal.jsonl", "run.lock"]);

    equal((await status(wish(id, "pause")))[0], 204);
    deepEqual(JSON.parse(await readFile(control, "utf8")), { run: "this start", wish: "pause" });
    equal((await json<RunDetail>(`/api/runs/${id}`)).asked, "pause");
    deepEqual(await status(wish(id, "save")), [409, "The run has not come to the last wish yet"]);
    equal((await status(wish(id, "stop")))[0], 204);
    deepEqual(JSON.parse(await readFile(control, "utf8")), { run: "this start", wish: "stop" });
    await Deno.remove(control);
    await mkdir(control);
    const [code, text] = await status(wish(id, "pause"));
    equal(code, 409);
    match(text, /control\.json is a folder, so the run hears of nothing: take it away$/);
    await Deno.remove(control);
    await appendFile(
      join(run, "journal.jsonl"),
      linesText([{ time: 1001, type: "asked", wish: "pause", ...training }]),
    );
    equal((await json<RunDetail>(`/api/runs/${id}`)).asked, "pause");
    equal((await status(wish(id, "save")))[0], 409);
    await appendFile(join(run, "journal.jsonl"), linesText([{ time: 1001, type: "paused", ...training }]));
    equal((await json<RunDetail>(`/api/runs/${id}`)).state, "paused");
    equal((await status(wish(id, "save")))[0], 409);
    equal((await status(wish(id, "resume")))[0], 204);
  }));
