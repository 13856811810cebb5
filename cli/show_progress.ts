import cliProgress from "cli-progress";
import { durationText, eventText, type RunEvent } from "../pipeline/mod.ts";

/** Seconds between two lines of one step where the output is no terminal. */
const lineEverySeconds = 10;

/**
 * Shows a run in the terminal: a bar with the time left for the step at work, a line for everything else. Where the output is a file or a pipe, plain lines.
 *
 * @param options.showErrors Whether errors are shown as well; false where the caller prints them itself.
 * @returns What a run's `onEvent` wants.
 */
export function showProgress({ showErrors = true } = {}): (event: RunEvent) => void {
  const isTerminal = Deno.stdout.isTerminal();
  let bar: cliProgress.SingleBar | null = null, lastLine = 0, lastText = "";
  const stop = () => {
    bar?.stop();
    bar = null;
  };
  return (event) => {
    if (event.type === "figures") return;
    if (event.type !== "progress") {
      stop();
      lastLine = 0;
      const isError = event.type === "step-failed" || event.type === "run-failed" || event.type === "run-interrupted";
      if (showErrors || !isError) console.log(eventText(event));
      return;
    }
    const { done, total, unit, message = "", etaSeconds } = event;
    const isLast = done === total;
    if (!isTerminal || message.includes("\n")) {
      const now = performance.now() / 1000;
      const text = eventText(event);
      if ((isLast && text !== lastText) || now - lastLine >= lineEverySeconds) {
        lastLine = now;
        lastText = text;
        console.log(text);
      }
      return;
    }
    bar ??= startBar(total);
    bar.setTotal(total);
    bar.update(done, { unit, message, left: etaSeconds === undefined ? "" : `, ${durationText(etaSeconds)} left` });
    if (isLast) stop();
  };
}

function startBar(total: number): cliProgress.SingleBar {
  const bar = new cliProgress.SingleBar({
    format: "  {bar} {value} of {total} {unit}{left}  {message}",
    barCompleteChar: "█",
    barIncompleteChar: "░",
    barsize: 24,
    hideCursor: true,
    clearOnComplete: true,
  });
  bar.start(total, 0, { unit: "", message: "", left: "" });
  return bar;
}
