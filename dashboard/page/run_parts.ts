/// <reference lib="dom" />
import { html } from "htm/preact";
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { durationText } from "../../pipeline/text.ts";
import type { PictureView, RunDetail, RunState, StepView } from "../run_view.ts";
import { valueText } from "./curve_lines.ts";
import { pictureAddress } from "./server.ts";

/** How each state is called; a sign beside it, since not all see colours. */
export const stateTexts: Readonly<Record<RunState, { readonly sign: string; readonly text: string }>> = {
  running: { sign: "▶", text: "running" },
  paused: { sign: "❚❚", text: "paused" },
  finished: { sign: "✓", text: "finished" },
  stopped: { sign: "■", text: "stopped" },
  failed: { sign: "✕", text: "failed" },
  lost: { sign: "?", text: "ended without a word" },
};

/** A run's state as a badge. */
export function StateBadge({ state }: { state: RunState }): VNode {
  const { sign, text } = stateTexts[state];
  return html`<span class=${`badge ${state}`}><span aria-hidden="true">${sign} </span>${text}</span>` as VNode;
}

/** What of a step's work is done, and the time left: `45 of 130 steps, 1.2 s/step, 2 min 5 s left`. */
export function progressText(
  { done, total, unit, secondsEach, etaSeconds }: NonNullable<StepView["progress"]>,
): string {
  return [
    `${done} of ${total} ${unit}`,
    ...secondsEach !== undefined && unit === "steps" ? [`${valueText(secondsEach)} s/step`] : [],
    ...etaSeconds === undefined ? [] : [`${durationText(etaSeconds)} left`],
  ].join(", ");
}

/** Whether a run can be asked for something. */
export function isAtWork({ state }: Pick<RunDetail, "state">): boolean {
  return state === "running" || state === "paused";
}

/** The steps of a recipe, and how far each is. */
export function Steps({ run }: { run: RunDetail }): VNode {
  const isLive = isAtWork(run);
  const textOf = ({ state, seconds, progress }: StepView) => {
    const time = seconds === undefined ? [] : [durationText(seconds)];
    if (state !== "at work") return [state, ...time].join(", ");
    return `${isLive ? "at work" : "not finished"}${
      progress ? `, ${progress.done} of ${progress.total} ${progress.unit}` : ""
    }`;
  };
  return html`<ol class="steps">${
    run.steps.map((step, at) => {
      const isNow = isLive && step.state === "at work";
      return html`<li key=${at} class=${isNow ? "now" : ""} aria-current=${isNow ? "step" : null}>
      <span class="name">${step.name}</span> <span class="soft">${textOf(step)}</span>
    </li>`;
    })
  }</ol>` as VNode;
}

/** Pictures of one prompt with the same networks, the newest first. */
interface PictureRow {
  readonly title: string;
  readonly pictures: readonly PictureView[];
}

/** Rows of pictures in the order in which they began, so that none moves; what has no prompt comes last. */
function pictureRows(pictures: readonly PictureView[]): PictureRow[] {
  const rest = "Other pictures";
  const titleOf = ({ shows: { networks, prompt } }: PictureView) =>
    prompt === undefined ? rest : [networks, `“${prompt}”`].filter(Boolean).join(": ");
  const newestFirst = (a: PictureView, b: PictureView) => b.time - a.time || b.number - a.number;
  return [...Map.groupBy(pictures, titleOf)]
    .map(([title, pictures]) => ({ title, pictures: pictures.toSorted(newestFirst) }))
    .sort((a, b) => Number(a.title === rest) - Number(b.title === rest));
}

function captionOf({ shows: { step, seed }, name }: PictureView): string {
  const facts = [...step === undefined ? [] : [`step ${step}`], ...seed === undefined ? [] : [`seed ${seed}`]];
  return facts.join(", ") || name;
}

/** Pictures in a row before all are asked for. */
const shownAtFirst = 12;

/** Pictures as they come, a row for each prompt and network; each opens large. */
export function Pictures({ run }: { run: RunDetail }): VNode {
  const [open, setOpen] = useState<PictureView | null>(null), [showsAll, showAll] = useState(false);
  const rows = pictureRows(run.pictures), isLong = rows.some(({ pictures }) => pictures.length > shownAtFirst);
  if (rows.length === 0) {
    return html`<p class="soft">No pictures yet. Training steps make them with <code>samples</code>.</p>` as VNode;
  }
  const alt = (title: string, picture: PictureView) => `${title}, ${captionOf(picture)}`;
  return html`
    ${rows.map(({ title, pictures }) =>
      html`
        <section class="strip" key=${title}>
          <h3>${title}</h3>
          <ul tabindex="0" aria-label=${title}>${pictures.slice(0, showsAll ? undefined : shownAtFirst).map((picture) =>
            html`
              <li key=${picture.number}>
                <button type="button" class="picture" onClick=${() => setOpen(picture)}>
                  <img src=${pictureAddress(run.id, picture)} alt=${alt(title, picture)} loading="lazy" />
                  <span>${captionOf(picture)}</span>
                </button>
              </li>
            `
          )}</ul>
        </section>
      `
    )}
    ${isLong && !showsAll &&
      html`<button type="button" onClick=${() => showAll(true)}>Show all ${run.pictures.length} pictures</button>`}
    ${open && html`
      <${Dialog} title=${captionOf(open)} onClose=${() => setOpen(null)} body=${html`
        <img class="large" src=${pictureAddress(run.id, open)} alt=${captionOf(open)} />
        <dl>${Object.entries({ ...open.shows, file: open.name }).map(([name, value]) =>
          html`
            <dt>${name}</dt>
            <dd>${value}</dd>
          `
        )}</dl>
      `} />
    `}
  ` as VNode;
}

/** A dialog over the page, open as long as it is there. */
export function Dialog(
  { title, body, onClose }: { title: string; body: unknown; onClose: () => void },
): VNode {
  const show = (element: HTMLDialogElement | null) => {
    if (element && !element.open) element.showModal();
  };
  return html`<dialog ref=${show} onClose=${onClose} aria-label=${title}>
    <h2>${title}</h2>
    ${body}
    <button type="button" onClick=${(event: MouseEvent) =>
    (event.currentTarget as Element).closest("dialog")!.close()}>Close</button>
  </dialog>` as VNode;
}

/** What a run said, the newest first. */
export function Messages({ run: { messages } }: { run: RunDetail }): VNode {
  if (messages.length === 0) return html`<p class="soft">Nothing was said.</p>` as VNode;
  return html`<ul class="messages">${
    messages.toReversed().map(({ time, kind, text }, at) =>
      html`<li key=${messages.length - at} class=${kind}>
        <time>${new Date(time * 1000).toLocaleTimeString()}</time> ${
        kind === "note" ? "" : html`<strong>${kind}: </strong>`
      }${text}
      </li>`
    )
  }</ul>` as VNode;
}
