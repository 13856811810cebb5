import type { Line } from "../line.ts";

/** A row of the table: one pass of one op. */
export interface ComparedRow {
  readonly op: string;
  readonly pass: string;
  /** By peer. */
  readonly lines: ReadonlyMap<string, Line>;
  /** Peers whose result is not that of the others. */
  readonly differing: ReadonlySet<string>;
  /** How many times as long as ours the faster WebGPU peer took; null where one of the two has no figure. */
  readonly ratio: number | null;
}

const ours = "dualora";
/** The peers that dualora is held against: libraries on WebGPU. */
const webgpuPeers = ["jax-js", "tfjs"];
/** Every ratio should reach the first, their geometric mean the second. */
const wantedRatio = 2, wantedMean = 3;
/** Sums are taken in other orders; a mean of absolute values hardly feels it. */
const checkTolerance = 2e-3;

/** The lines of one pass of one op, compared. Where the adapter is a CPU its CPU time counts, else wall-clock time. */
export function compareLines(lines: readonly Line[]): ComparedRow {
  const byPeer = new Map(lines.map((line) => [line.peer as string, line]));
  const measured = lines.filter(({ skipped }) => skipped === undefined);
  const checks = measured.map(({ check }) => Number(check)).toSorted((a, b) => a - b), middle = checks.length / 2;
  const typical = (checks[Math.ceil(middle) - 1] + checks[Math.floor(middle)]) / 2;
  const differing = new Set(
    measured.filter(({ check }) => !(Math.abs(Number(check) - typical) <= checkTolerance * typical))
      .map(({ peer }) => peer as string),
  );
  const time = (peer: string) => {
    const line = byPeer.get(peer);
    return !line || line.skipped !== undefined || differing.has(peer) ? Infinity : comparedMs(line);
  };
  const ratio = Math.min(...webgpuPeers.map(time)) / time(ours);
  return {
    op: `${lines[0].op} ${lines[0].shape}`,
    pass: lines[0].pass as string,
    lines: byPeer,
    differing,
    ratio: ratio > 0 && ratio < Infinity ? ratio : null,
  };
}

/** The milliseconds that count. */
function comparedMs(line: Line): number {
  return Number(line.compared_by === "cpu_ms" ? line.cpu_ms : line.ms_median);
}

/** The head of the table, in Markdown. */
export function tableHead(peers: readonly string[]): string {
  return `| op | pass | ${peers.join(" | ")} | ratio | share of peak |\n|${" --- |".repeat(peers.length + 4)}`;
}

/** A row of the table. */
export function tableRow({ op, pass, lines, differing, ratio }: ComparedRow, peers: readonly string[]): string {
  const cells = peers.map((peer) => {
    const line = lines.get(peer);
    if (!line) return "";
    return line.skipped === undefined ? cell(line) + (differing.has(peer) ? " **differs**" : "") : "not run";
  });
  const own = lines.get(ours);
  const share = own?.share === undefined ? "" : `${(100 * Number(own.share)).toFixed(1)} % of ${own.bound}`;
  const shortPass = pass === "forward" ? "forward" : "+ gradient";
  return `| ${[op, shortPass, ...cells, ratio === null ? "" : ratio.toFixed(2), share].join(" | ")} |`;
}

/** CPU milliseconds with those of the clock in brackets, or the latter alone. */
function cell(line: Line): string {
  const compared = significant(comparedMs(line));
  return line.compared_by === "cpu_ms" ? `${compared} (${significant(Number(line.ms_median))})` : compared;
}

/** What the rows say together: means, ratios below what is wanted, and what was not run. */
export function tableSummary(rows: readonly ComparedRow[]): string {
  const rated = rows.filter(({ ratio }) => ratio !== null) as (ComparedRow & { ratio: number })[];
  const low = rated.filter(({ ratio }) => ratio < wantedRatio).toSorted((a, b) => a.ratio - b.ratio);
  const lines = [
    `Ratio: time of the faster of ${webgpuPeers.join(" and ")} by ours. Geometric mean ${
      mean(rated)
    } of ${rated.length} (wanted: ${wantedMean}); ` +
    ["forward", "forward+gradient"].map((pass) => `${pass} ${mean(rated.filter((row) => row.pass === pass))}`).join(
      ", ",
    ) + ".",
    low.length === 0
      ? `Every ratio is at least ${wantedRatio}.`
      : `Below ${wantedRatio}: ${low.map(({ op, pass, ratio }) => `${op} ${pass} ${ratio.toFixed(2)}`).join("; ")}.`,
  ];
  for (const { op, pass, lines: byPeer } of rows) {
    for (const [peer, { skipped }] of byPeer) {
      if (skipped !== undefined) lines.push(`- not run: ${peer}, ${op}, ${pass}: ${skipped}`);
    }
  }
  return lines.join("\n");
}

function mean(rows: readonly { ratio: number }[]): string {
  if (rows.length === 0) return "of none";
  return Math.exp(rows.reduce((sum, { ratio }) => sum + Math.log(ratio), 0) / rows.length).toFixed(2);
}

function significant(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}
