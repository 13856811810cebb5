import process from "node:process";
import cliProgress from "cli-progress";
import { eventText, paceText, type RunEvent } from "../pipeline/mod.ts";

/** Seconds between two lines of one step where the output is no terminal. */
const lineEverySeconds = 10;

/** Where progress is shown: what is used of Node's standard output. */
export type ProgressStream = NodeJS.WritableStream & { readonly isTTY?: boolean };

/**
 * Shows a run in the terminal: for the step at work a bar with pace and time left, and below it a line for each network; a line for everything else. Where
 * the output is a file or a pipe, plain lines.
 *
 * @param options.showErrors Whether errors are shown as well; false where the caller prints them itself.
 * @param options.stream Standard output when left out.
 * @returns What a run's `onEvent` wants.
 */
export function showProgress(
  { showErrors = true, stream = process.stdout }: {
    readonly showErrors?: boolean;
    readonly stream?: ProgressStream;
  } = {},
): (event: RunEvent) => void {
  let bars: ProgressBars | null = null, lastLine = -Infinity, lastText = "";
  const print = (text: string) => void stream.write(`${text}\n`);
  const stop = () => {
    bars?.stop();
    bars = null;
  };
  return (event) => {
    if (event.type === "figures") return;
    if (event.type !== "progress") {
      stop();
      lastLine = -Infinity;
      const isError = event.type === "step-failed" || event.type === "run-failed" || event.type === "run-interrupted";
      if (showErrors || !isError) print(eventText(event));
      return;
    }
    const isLast = event.done === event.total;
    if (!stream.isTTY || event.message?.includes("\n")) {
      const now = performance.now() / 1000;
      const text = eventText(event);
      if ((isLast && text !== lastText) || now - lastLine >= lineEverySeconds) {
        lastLine = now;
        lastText = text;
        print(text);
      }
      return;
    }
    bars ??= new ProgressBars(stream);
    bars.show(event);
    if (isLast) stop();
  };
}

/** A bar, and lines of text below it. */
class ProgressBars {
  private readonly all: cliProgress.MultiBar;
  private readonly bar: cliProgress.SingleBar;
  private readonly lines: cliProgress.SingleBar[] = [];

  constructor(stream: ProgressStream) {
    this.all = new cliProgress.MultiBar({
      format: "  {bar} {value} of {total} {unit}{pace}  {message}",
      barCompleteChar: "█",
      barIncompleteChar: "░",
      barsize: 24,
      hideCursor: true,
      clearOnComplete: true,
      stream,
    });
    this.bar = this.all.create(1, 0, { unit: "", message: "", pace: "" });
  }

  show(event: Extract<RunEvent, { type: "progress" }>): void {
    const { done, total, unit, message = "", lines = [] } = event;
    this.bar.setTotal(total);
    this.bar.update(done, { unit, message, pace: paceText(event) });
    while (this.lines.length < lines.length) {
      this.lines.push(this.all.create(1, 0, { text: "" }, { format: "  {text}" }));
    }
    this.lines.forEach((line, at) => line.update(0, { text: lines[at] ?? "" }));
  }

  stop(): void {
    this.all.stop();
  }
}
