import type { Line } from "../line.ts";
import type { Piece } from "./pieces.ts";
import type { Sizes } from "./sizes.ts";
import { judge, lastOf, percent } from "./targets.ts";

/** Ops of a profile that are shown. */
const shownRows = 25;

/**
 * What `bench:gpu` found, as Markdown: each target with what was wanted and found, then the figures behind it.
 *
 * @param lines All lines so far, those of the pieces' ends among them; of several lines of one thing the last counts.
 */
export function reportOf(lines: readonly Line[], pieces: readonly Piece[], sizes: Sizes): string {
  const findings = judge(lines, sizes, (piece) => whyMissing(lines, piece));
  const count = (verdict: string) => findings.filter((each) => each.verdict === verdict).length;
  return [
    `# ${adapterText(lines)}`,
    `Of ${findings.length - count("–")} targets ${count("met")} met, ${count("not met")} not met, ${
      count("no figure")
    } without a figure.`,
    table(
      ["target", "wanted", "found", ""],
      findings.map((
        { target, wanted, found, verdict },
      ) => [target, wanted, found, verdict === "met" || verdict === "–" ? verdict : `**${verdict}**`]),
    ),
    ...section("The machine", machineText(lines)),
    ...section("Parity", parityText(lines)),
    ...section("Kernels", kernelTable(lines)),
    ...section("Dual steps and sampling", stepTable(lines)),
    ...section("Tiles of products", tileTable(lines)),
    ...profileSections(lines),
    ...section("Pieces", pieceTable(lines, pieces)),
  ].join("\n\n") + "\n";
}

/** The line that says how a piece ended. */
export function pieceLine(piece: string, state: string, reason: string, seconds: number): Line {
  return { op: "piece", shape: piece, state, reason, seconds };
}

function pieceEnd(lines: readonly Line[], piece: string): Line | undefined {
  return lines.findLast(({ op, shape }) => op === "piece" && shape === piece);
}

function whyMissing(lines: readonly Line[], piece: string): string {
  const end = pieceEnd(lines, piece);
  if (!end) return `piece ${piece} was not run`;
  return end.state === "done" ? `piece ${piece} gave none` : `piece ${piece}: ${stateText(end)}`;
}

function stateText({ state, reason }: Line): string {
  return reason ? `${state}, ${reason}` : `${state}`;
}

function adapterText(lines: readonly Line[]): string {
  return `On ${lines.findLast(({ op }) => op === "adapter")?.adapter ?? "an adapter that was not asked"}`;
}

function machineText(lines: readonly Line[]): string | null {
  const adapter = lines.findLast(({ op }) => op === "adapter"), peaks = lines.findLast(({ op }) => op === "roofline");
  if (!adapter) return null;
  const rows = Object.entries(adapter).filter(([name]) => name !== "op").map(([name, value]) => [name, String(value)]);
  const measured = peaks
    ? [[
      "peaks, measured",
      `${Number(peaks.gflops).toFixed(0)} GFLOP/s in f32, ${Number(peaks.gigabytes).toFixed(0)} GB/s`,
    ]]
    : [];
  const card = lines.filter(({ op }) => op === "said").map(({ text }) => ["card", String(text)]);
  return table(["", ""], [...rows, ...card, ...measured]);
}

function parityText(lines: readonly Line[]): string | null {
  const tests = lastOf(lines.filter(({ op }) => op === "parity"), ({ shape }) => String(shape));
  if (tests.length === 0) return null;
  const failed = tests.filter(({ passed }) => !passed);
  return [
    `${tests.length - failed.length} tests passed, ${failed.length} failed`,
    ...failed.map(({ shape }) => `- ${shape}`),
  ].join("\n");
}

function kernelTable(lines: readonly Line[]): string | null {
  const own = lastOf(
    lines.filter(({ share, skipped, op, pass }) =>
      (share !== undefined || skipped !== undefined) && op !== "profile" && pass !== "step" && pass !== "sample"
    ),
    ({ op, shape, pass, dtype }) => `${op} ${shape} ${pass} ${dtype}`,
  );
  if (own.length === 0) return null;
  return table(
    ["op", "shape", "pass", "stored in", "ms on the device", "ms by the clock", "GFLOP/s", "share of peak"],
    own.map(({ op, shape, pass, dtype, device_ms, ms_median, gflops, share, bound, skipped }) => [
      ...[op, shape, pass, dtype].map(String),
      ...skipped === undefined
        ? [digits(device_ms), digits(ms_median), digits(gflops), `${percent(Number(share))} of ${bound}`]
        : ["", "", "", `none: ${skipped}`],
    ]),
  );
}

/** For each product the tile that is chosen by counts beside the fastest of those that were tried. */
function tileTable(lines: readonly Line[]): string | null {
  const all = lines.filter(({ tile, skipped }) => tile !== undefined && skipped === undefined);
  const byProduct = Map.groupBy(all, ({ op, shape, dtype }) => `${op} ${shape} ${dtype}`.replace("tile ", ""));
  const rows = [...byProduct].flatMap(([product, own]) => {
    const tried = lastOf(own, ({ by_counts }) => String(by_counts)),
      chosen = tried.find((line) => line.by_counts === 1);
    const best = tried.toSorted((a, b) => Number(a.device_ms) - Number(b.device_ms))[0];
    const text = ({ tile, rows_each, splits, parts, device_ms }: Line) =>
      `${tile}, ${rows_each} rows each, ${splits} splits, ${parts} parts: ${digits(device_ms)} ms`;
    const ratio = chosen && Number(chosen.device_ms) / Number(best.device_ms);
    return chosen ? [[product, text(chosen), text(best), digits(ratio), String(tried.length)]] : [];
  });
  return rows.length === 0 ? null : table(["product", "chosen by counts", "fastest", "ratio", "tried"], rows);
}

function stepTable(lines: readonly Line[]): string | null {
  const own = lastOf(
    lines.filter(({ op }) => op === "dual_step" || op === "sampling"),
    ({ op, shape, peer, dtype }) => `${op} ${shape} ${peer} ${dtype}`,
  );
  if (own.length === 0) return null;
  return table(
    ["what", "program", "in", "ms", "least", "CPU ms", "TFLOP/s", "GB", "losses or check"],
    own.map(({ op, shape, peer, dtype, ms_median, ms_min, cpu_ms, gflops, peak_bytes, losses, check, skipped }) => [
      ...[`${op} ${shape}`, String(peer), String(dtype)],
      ...skipped === undefined
        ? [
          ...[digits(ms_median), digits(ms_min), digits(cpu_ms)],
          gflops === undefined ? "" : (Number(gflops) / 1000).toFixed(2),
          peak_bytes === undefined ? "" : (Number(peak_bytes) / 1e9).toFixed(2),
          String(losses ?? check ?? ""),
        ]
        : [`none: ${skipped}`, "", "", "", "", ""],
    ]),
  );
}

function profileSections(lines: readonly Line[]): string[] {
  const rows = lastOf(lines.filter(({ op }) => op === "profile"), ({ shape, by, row }) => `${shape} ${by} ${row}`);
  return [...Map.groupBy(rows, ({ shape }) => String(shape))].flatMap(([shape, all]) => {
    const whole = all.find(({ by }) => by === "step"), total = Number(whole?.device_ms);
    const tableOf = (by: "op" | "size") =>
      table(
        [by === "op" ? "op" : "op and what it reads", "ms", "%", "steps", "GFLOP/s", "GB/s", "share of peak"],
        all.filter((line) => line.by === by).toSorted((a, b) => Number(b.device_ms) - Number(a.device_ms))
          .slice(0, shownRows).map(({ row, device_ms, steps, gflops, gigabytes, share }) => [
            ...[String(row), digits(device_ms), (100 * Number(device_ms) / total).toFixed(1), String(steps)],
            ...[gflops === 0 ? "" : digits(gflops), digits(gigabytes), percent(Number(share))],
          ]),
      );
    const summary = `${digits(whole?.device_ms)} ms of kernels in ${whole?.dispatches} dispatches; the host's work ${
      digits(whole?.host_ms)
    } ms`;
    return section(`Where ${shape} spends its time`, [summary, tableOf("op"), tableOf("size")].join("\n\n"));
  });
}

function pieceTable(lines: readonly Line[], pieces: readonly Piece[]): string {
  return table(
    ["piece", "what", "state", "seconds"],
    pieces.map(({ name, what }) => {
      const end = pieceEnd(lines, name);
      return [name, what, end ? stateText(end) : "not run", end ? Number(end.seconds).toFixed(0) : ""];
    }),
  );
}

function section(title: string, text: string | null): string[] {
  return text === null ? [] : [`## ${title}`, text];
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const row = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
  return [row(head), `|${" --- |".repeat(head.length)}`, ...rows.map(row)].join("\n");
}

/** A figure with three digits; nothing where there is none. */
function digits(value: Line[string] | undefined): string {
  return typeof value === "number" ? (value >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3)))) : "";
}
