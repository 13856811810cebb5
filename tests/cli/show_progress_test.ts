import { deepEqual, equal } from "node:assert/strict";
import { Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { showProgress } from "../../cli/show_progress.ts";
import type { RunEvent } from "../../pipeline/mod.ts";

/** Keeps what is written, as a terminal or a pipe. */
function recorder(isTTY: boolean) {
  const pieces: string[] = [];
  const stream = new Writable({
    write(piece, _, done) {
      pieces.push(String(piece));
      done();
    },
  });
  return { stream: Object.assign(stream, { isTTY, columns: 120 }), text: () => pieces.join("") };
}

/** What a terminal shows in the end: only what the progress bars use of its codes. */
function screen(text: string): string[] {
  const lines = [""];
  let row = 0, column = 0;
  // deno-lint-ignore no-control-regex
  for (const [all, count, code] of text.matchAll(/\x1b\[\??(\d*)(?:;\d+)?([A-Za-z])|\x1b\d|[^]/g)) {
    if (code === "A") row = Math.max(0, row - Number(count || 1));
    else if (code === "G") column = Number(count || 1) - 1;
    else if (code === "K") lines[row] = lines[row].slice(0, column);
    else if (code === "J") {
      lines[row] = lines[row].slice(0, column);
      lines.length = row + 1;
    } else if (code !== undefined || all.startsWith("\x1b")) continue;
    else if (all === "\n") {
      column = 0;
      lines[++row] ??= "";
    } else if (all === "\r") column = 0;
    else {
      lines[row] = lines[row].padEnd(column).slice(0, column) + all + lines[row].slice(column + 1);
      column++;
    }
  }
  return lines.map((line) => line.trimEnd());
}

const step = { step: "train network 2", index: 0 };
const working = (done: number): RunEvent => ({
  ...{ ...step, type: "progress", done, total: 130, unit: "steps", secondsEach: 1.234, etaSeconds: 125 },
  ...{ message: "orth_te 1.0e-3", lines: ["network 1: loss 0.1000", "network 2: loss 0.2000"] },
});

Deno.test("a pipe gets plain lines, one every ten seconds and the last, with pace, time left and both networks", () => {
  const { stream, text } = recorder(false), show = showProgress({ stream });
  for (const event of [working(10), working(20), working(30), working(130)]) show(event);
  show({ ...step, type: "step-finished", seconds: 160 });
  const end = "130 steps, 1.2 s/step, 2 min 5 s left, orth_te 1.0e-3; network 1: loss 0.1000; network 2: loss 0.2000";
  deepEqual(text().split("\n"), [
    `train network 2: 10 of ${end}`,
    `train network 2: 130 of ${end}`,
    "train network 2: done in 2 min 40 s",
    "",
  ]);
});

Deno.test("a terminal gets a bar with pace and time left and a line for each network, which are gone when the step is done", async () => {
  const { stream, text } = recorder(true), show = showProgress({ stream });
  show(working(65));
  // The bars are drawn ten times a second.
  await delay(250);
  deepEqual(screen(text()), [
    `  ${"█".repeat(12)}${"░".repeat(12)} 65 of 130 steps, 1.2 s/step, 2 min 5 s left  orth_te 1.0e-3`,
    "  network 1: loss 0.1000",
    "  network 2: loss 0.2000",
  ]);
  show({ ...step, type: "paused" });
  deepEqual(screen(text()), ["train network 2: paused, and waits to be resumed or stopped; what is done is saved", ""]);
  show(working(66));
  await delay(250);
  equal(screen(text()).length, 4);
  show(working(130));
  show({ ...step, type: "step-finished", seconds: 160 });
  deepEqual(screen(text()).slice(1), ["train network 2: done in 2 min 40 s", ""]);
});
