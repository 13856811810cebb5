/// <reference lib="dom" />
import { html } from "htm/preact";
import type { VNode } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Wish } from "../../pipeline/mod.ts";
import { smoothingWindow } from "../../steps/report/smooth.ts";
import type { RunDetail, RunSummary } from "../run_view.ts";
import { type DrawnRun, linesOf, plots } from "./curve_lines.ts";
import { PlotView } from "./plot_view.ts";
import { Dialog, isAtWork, Messages, Pictures, progressText, StateBadge, stateTexts, Steps } from "./run_parts.ts";
import { CurveFeed, fetchRun, fetchRuns, Refusal, sendWish } from "./server.ts";

/** Milliseconds between two looks at the server. */
const lookEveryMs = 1000;

/** What the server told last. */
interface Told {
  readonly runs: readonly RunSummary[];
  readonly run: RunDetail | null;
  /** Rows by run, of the step whose curves are shown. */
  readonly drawn: readonly (DrawnRun & { readonly id: string })[];
  /** The step whose curves are shown, and all there are. */
  readonly training: string;
  readonly trainings: readonly string[];
  /** Why the server does not answer; empty while it does. */
  readonly problem: string;
}

const nothing: Told = { runs: [], run: null, drawn: [], training: "", trainings: [], problem: "" };

/** What of all that the user looks at; null where nothing was chosen, and the newest is taken. */
interface Chosen {
  readonly run: string | null;
  readonly training: string | null;
  /** Runs whose curves are drawn beside it. */
  readonly kept: readonly string[];
}

/** Asks the server once a second, and at once where something else was chosen. */
function useTold(chosen: Chosen): Told {
  const [told, setTold] = useState(nothing), feeds = useRef(new Map<string, CurveFeed>());
  const key = JSON.stringify(chosen);
  useEffect(() => {
    let isOver = false, timer: ReturnType<typeof setTimeout> | undefined;
    const look = async () => {
      try {
        const found = await askAll(chosen, feeds.current);
        if (!isOver) setTold(found);
      } catch (error) {
        const problem = error instanceof Refusal ? error.message : "The dashboard's program does not answer";
        if (!isOver) setTold((told) => ({ ...told, problem }));
      }
      if (!isOver) timer = setTimeout(look, lookEveryMs);
    };
    look();
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [key]);
  return told;
}

async function askAll(chosen: Chosen, feeds: Map<string, CurveFeed>): Promise<Told> {
  const runs = await fetchRuns(), first = runs.find(({ id }) => id === chosen.run) ?? runs[0];
  if (!first) return { ...nothing, runs };
  // In the order of their starts, so that a run keeps its letter and colour.
  const shown = runs.filter(({ id }) => id === first.id || chosen.kept.includes(id)).reverse();
  const trainings = [...new Set(shown.flatMap(({ trainings }) => trainings))];
  const training = trainings.includes(chosen.training ?? "")
    ? chosen.training!
    : first.trainings.at(-1) ?? trainings[0] ?? "";
  const run = await fetchRun(first.id), drawn = [];
  for (const [at, { id, name, trainings }] of shown.entries()) {
    if (!trainings.includes(training)) continue;
    const key = `${id} ${training}`, feed = feeds.get(key) ?? new CurveFeed(id, training);
    feeds.set(key, feed);
    await feed.update();
    drawn.push({ id, name, letter: shown.length > 1 ? letterOf(at) : "", rows: feed.rows });
  }
  return { runs, run, drawn, training, trainings, problem: "" };
}

function letterOf(at: number): string {
  return String.fromCharCode("A".charCodeAt(0) + at % 26);
}

const wishTexts: Readonly<Record<Wish, string>> = {
  pause: "Asked to pause: it saves its work first",
  resume: "Asked to go on",
  save: "Asked to save",
  stop: "Asked to stop: it saves its work first",
};

/** Keys and what they do, for the page and its help. */
const shortcuts: readonly (readonly [key: string, does: string])[] = [
  ["j, k", "next run, run before"],
  ["o", "keep this run's curves in the plots while you look at another, or no longer"],
  ["p", "pause, or resume"],
  ["s", "save now"],
  ["x", "stop (asks first)"],
  ["1, 2, 3, 4", "go to the steps, the curves, the pictures, the messages"],
  ["← →, Home, End", "in a plot: from step to step"],
  ["?", "this list"],
];
const sections = ["steps", "curves", "pictures", "messages"];
const shortcutsKey = "dualora-shortcuts-off";

/** The whole page. */
export function App(): VNode {
  const [chosen, setChosen] = useState<Chosen>({ run: null, training: null, kept: [] });
  const [isSmooth, setSmooth] = useState(true), [dialog, setDialog] = useState<"help" | "stop" | null>(null);
  const [said, setSaid] = useState(""), [hasKeys, setKeys] = useState(localStorage.getItem(shortcutsKey) === null);
  const { runs, run, drawn, training, trainings, problem } = useTold(chosen);

  const choose = (id: string) => setChosen((chosen) => ({ ...chosen, run: id }));
  const keep = (id: string) =>
    setChosen(({ kept, ...rest }) => ({
      ...rest,
      kept: kept.includes(id) ? kept.filter((each) => each !== id) : [...kept, id],
    }));
  const pickTraining = ({ currentTarget }: { currentTarget: HTMLSelectElement }) =>
    setChosen((chosen) => ({ ...chosen, training: currentTarget.value }));
  const rememberKeys = (on: boolean) => {
    if (on) localStorage.removeItem(shortcutsKey);
    else localStorage.setItem(shortcutsKey, "1");
    setKeys(on);
  };
  const ask = async (wish: Wish) => {
    if (!run) return;
    try {
      await sendWish(run.id, wish);
      setSaid(wishTexts[wish]);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      setSaid(error.message);
    }
  };
  const isLive = run !== null && isAtWork(run);

  // Those who cannot see hear of what changes seldom, and of nothing that changes with every step.
  const state = run ? `${run.name}: ${stateTexts[run.state].text}` : "";
  useEffect(() => setSaid(""), [state]);
  useEffect(() => {
    const { progress } = run?.steps.find((step) => step.state === "at work") ?? {};
    const part = isLive && progress ? `${Math.floor(100 * progress.done / progress.total)} % · ` : "";
    document.title = run ? `${part}${run.name} · dualora` : "dualora dashboard";
  }, [run]);

  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const { key, target } = event;
      const isTyping = target instanceof Element &&
        target.closest("input:not([type=checkbox]), select, dialog") !== null;
      if (isTyping || !hasKeys || event.ctrlKey || event.metaKey || event.altKey) return;
      const at = runs.findIndex(({ id }) => id === run?.id), next = runs[at + ({ j: 1, k: -1 }[key] ?? NaN)];
      if (next) choose(next.id);
      else if (key === "o" && run) keep(run.id);
      else if (key === "p" && isLive) ask(run!.state === "paused" ? "resume" : "pause");
      else if (key === "s" && run?.state === "running") ask("save");
      else if (key === "x" && isLive) setDialog("stop");
      else if (key === "?") setDialog("help");
      else if (sections[Number(key) - 1]) document.getElementById(sections[Number(key) - 1])?.focus();
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });

  const curves = html`
    <div class="settings">
      <label>Step <select value=${training} onChange=${pickTraining}>${trainings.map((name) =>
        html`<option key=${name} value=${name}>${name}</option>`
      )}</select></label>
      <label><input type="checkbox" checked=${isSmooth} onChange=${() => setSmooth(!isSmooth)} /> smoothed</label>
    </div>
    <${Plots} drawn=${drawn} isSmooth=${isSmooth} />
  `;
  return html`
    <nav class="skip" aria-label="Skip">${["runs", ...sections].map((id) =>
      html`<a href=${`#${id}`}>Skip to ${id}</a>`
    )}</nav>
    <header class="top">
      <h1>dualora</h1>
      <p class=${problem ? "problem" : "soft"}>${problem || `${runs.length} ${runs.length === 1 ? "run" : "runs"}`}</p>
      <button type="button" onClick=${() => setDialog("help")}>Keys <kbd>?</kbd></button>
    </header>
    <div class="columns">
      <${RunList} runs=${runs} shown=${run?.id ?? null} kept=${chosen.kept} choose=${choose} keep=${keep}
        drawn=${drawn} />
      <main>
        <p role="status" class="hidden">${problem || state}</p>
        <p role="status" class="status">${said}</p>
        ${run
          ? html`
            <${RunHead} run=${run} ask=${ask} askToStop=${() => setDialog("stop")} />
            ${section("steps", "Steps", html`<${Steps} run=${run} />`)}
            ${section("curves", "Curves", curves)}
            ${section("pictures", "Pictures", html`<${Pictures} key=${run.id} run=${run} />`)}
            ${section("messages", "Messages", html`<${Messages} run=${run} />`)}
          `
          : html`<p class="soft">No runs in this folder yet. They appear here as they start.</p>`}
      </main>
    </div>
    ${dialog === "help" &&
      html`<${Help} hasKeys=${hasKeys} setKeys=${rememberKeys} onClose=${() => setDialog(null)} />`}
    ${dialog === "stop" && run && html`
      <${Dialog} title=${`Stop ${run.name}?`} onClose=${() => setDialog(null)} body=${html`
        <p>It saves its work and ends. The same command goes on from there.</p>
        <button type="button" class="danger" onClick=${() => (setDialog(null), ask("stop"))}>Stop the run</button>
      `} />
    `}
  ` as VNode;
}

/** A part of the page that can be jumped to. */
function section(id: string, title: string, content: unknown): VNode {
  return html`<section id=${id} tabindex="-1" aria-labelledby=${`${id}-title`}>
    <h2 id=${`${id}-title`}>${title}</h2>
    ${content}
  </section>` as VNode;
}

/** All runs: one is looked at, and curves of others can be kept beside it. */
function RunList({ runs, shown, kept, choose, keep, drawn }: {
  runs: readonly RunSummary[];
  shown: string | null;
  kept: readonly string[];
  choose: (id: string) => void;
  keep: (id: string) => void;
  drawn: Told["drawn"];
}): VNode {
  return html`
    <nav id="runs" class="runs" tabindex="-1" aria-label="Runs">
      <h2>Runs</h2>
      <ul>${runs.map((run) => {
        const { id, name, state, now, startedAt } = run;
        const letter = drawn.find((each) => each.id === id)?.letter;
        return html`
          <li key=${id} class=${id === shown ? "shown" : ""}>
            <button type="button" aria-current=${id === shown ? "true" : null} onClick=${() => choose(id)}>
              <span class="name">${letter && html`
                <b class="letter">${letter}</b>
              `}${name}</span>
              <span class="soft"><${StateBadge} state=${state} /> ${isAtWork(run) ? now : startText(startedAt)}</span>
            </button>
            <label class="keep"><input type="checkbox" checked=${kept.includes(id)} onChange=${() => keep(id)}
                    aria-label=${`Keep ${name} in the plots`} /><span aria-hidden="true">keep in plots</span></label>
          </li>
        `;
      })}</ul>
    </nav>
  ` as VNode;
}

function startText(seconds: number): string {
  return new Date(seconds * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

/** A run's name and state, and what can be asked of it. */
function RunHead({ run, ask, askToStop }: { run: RunDetail; ask: (wish: Wish) => void; askToStop: () => void }): VNode {
  const { name, recipe, state, asked, steps } = run, isLive = isAtWork(run);
  const step = isLive ? steps.find((step) => step.state === "at work") : undefined;
  return html`<div class="head">
    <div>
      <h2>${name}</h2>
      <p><${StateBadge} state=${state} />${asked !== null && html`<span class="soft"> asked to ${asked}</span>`} ${
    recipe !== name && html`<span class="soft">${recipe}</span>`
  }</p>
    </div>
    ${
    isLive && html`<div class="controls" role="group" aria-label="Control">
      ${
      state === "paused"
        ? html`<button type="button" disabled=${asked !== null} onClick=${() => ask("resume")}>Resume</button>`
        : html`<button type="button" disabled=${asked !== null} onClick=${() => ask("pause")}>Pause</button>`
    }
      <button type="button" disabled=${asked !== null || state === "paused"} onClick=${() =>
      ask("save")}>Save now</button>
      <button type="button" class="danger" disabled=${asked === "stop"} onClick=${askToStop}>Stop</button>
    </div>`
  }
    ${
    step?.progress && html`
      <p class="now">
        <progress max=${step.progress.total} value=${step.progress.done} aria-label=${step.name}></progress>
        <span><b>${step.name}</b>: ${progressText(step.progress)}</span>
      </p>
    `
  }
  </div>` as VNode;
}

/** The plots that have something to show. */
function Plots({ drawn, isSmooth }: { drawn: Told["drawn"]; isSmooth: boolean }): VNode {
  const most = Math.max(0, ...drawn.map(({ rows }) => rows.length)), window = isSmooth ? smoothingWindow(most) : 1;
  // Made anew where something has come, not with every look at the server.
  const found = useMemo(
    () => plots.map((plot) => ({ plot, lines: linesOf(plot, drawn, window) })).filter(({ lines }) => lines.length > 0),
    [window, ...drawn.flatMap(({ id, letter, rows }) => [id, letter, rows])],
  );
  if (found.length === 0) {
    return html`<p class="soft">No curves yet: a training tells its figures every ten steps.</p>` as VNode;
  }
  return html`<div class="plots">${
    found.map(({ plot, lines }) =>
      html`<${PlotView} key=${plot.title} plot=${plot} lines=${lines} isSmooth=${window > 1} />`
    )
  }</div>` as VNode;
}

/** The keys, and whether they are on. */
function Help({ hasKeys, setKeys, onClose }: {
  hasKeys: boolean;
  setKeys: (on: boolean) => void;
  onClose: () => void;
}): VNode {
  return html`
    <${Dialog} title="Keys" onClose=${onClose} body=${html`
      <dl>${shortcuts.map(([key, does]) =>
        html`
          <dt><kbd>${key}</kbd></dt>
          <dd>${does}</dd>
        `
      )}</dl>
      <label><input type="checkbox" checked=${hasKeys} onChange=${() =>
        setKeys(!hasKeys)} /> keys of one letter are on</label>
    `} />
  ` as VNode;
}
