/// <reference lib="dom" />
import type { Wish } from "../../pipeline/mod.ts";
import type { Curves, FigureRow, RunDetail, RunSummary } from "../run_view.ts";

/** The server refused, and says why. */
export class Refusal extends Error {
  override readonly name = "Refusal";
}

async function ask(path: string): Promise<Response> {
  const response = await fetch(path);
  if (!response.ok) throw new Refusal(await response.text());
  return response;
}

/** All runs, the one that was started last first. */
export async function fetchRuns(): Promise<RunSummary[]> {
  return await (await ask("/api/runs")).json();
}

/** A run but its curves. */
export async function fetchRun(id: string): Promise<RunDetail> {
  return await (await ask(`/api/runs/${id}`)).json();
}

/** Address of a picture; another one where the file was written anew. */
export function pictureAddress(
  id: string,
  { number, time }: { readonly number: number; readonly time: number },
): string {
  return `/api/runs/${id}/pictures/${number}?at=${time}`;
}

/** Asks a run for something. */
export async function sendWish(id: string, wish: Wish): Promise<void> {
  const token = document.querySelector<HTMLMetaElement>("meta[name=token]")!.content;
  const response = await fetch(`/api/runs/${id}/wish`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Dashboard-Token": token },
    body: JSON.stringify({ wish }),
  });
  if (!response.ok) throw new Refusal(await response.text());
}

/** A step's curves as they grow; only what is new is fetched. */
export class CurveFeed {
  private version = 0;
  private next = 0;
  private readonly byStep = new Map<number, FigureRow>();
  /** In the order of their steps. */
  rows: readonly FigureRow[] = [];

  // Types are taken off these files, not compiled: no parameter may be a property.
  private readonly id: string;
  private readonly step: string;

  constructor(id: string, step: string) {
    this.id = id;
    this.step = step;
  }

  /** Fetches what has come since. */
  async update(): Promise<void> {
    const query = new URLSearchParams({ step: this.step, from: `${this.next}`, version: `${this.version}` });
    const { version, next, rows }: Curves = await (await ask(`/api/runs/${this.id}/curves?${query}`)).json();
    if (version === this.version && rows.length === 0) return;
    if (version !== this.version) this.byStep.clear();
    for (const row of rows) this.byStep.set(row.step!, row);
    this.version = version;
    this.next = next;
    this.rows = [...this.byStep.values()].sort((a, b) => a.step! - b.step!);
  }
}
