import type { Line } from "../line.ts";

/** The lines of one dual step, some of ours and of PyTorch's, as a table in Markdown; ratios of the smallest times, each over all rounds. */
export function dualTable(lines: readonly Line[]): string {
  const peers = [...new Set(lines.map(({ peer }) => peer as string))];
  const least = (peer: string, field: string) =>
    Math.min(
      ...lines.filter((line) => line.peer === peer && line.skipped === undefined).map((line) => Number(line[field])),
    );
  const rows = peers.map((peer) => {
    const [cpu, clock] = [least(peer, "cpu_ms"), least(peer, "ms_median")],
      { adapter } = lines.find((line) => line.peer === peer)!;
    const ratio = (field: string) => (least("dualora", field) / least(peer, field)).toFixed(2);
    return `| ${peer} | ${adapter} | ${cpu.toFixed(0)} | ${clock.toFixed(0)} | ${ratio("cpu_ms")} | ${
      ratio("ms_median")
    } |`;
  });
  return [
    `${lines[0].op} ${lines[0].shape}`,
    "",
    "| program | device | CPU ms | ms | dualora's CPU time by its | dualora's time by its |",
    "| --- | --- | --- | --- | --- | --- |",
    ...rows,
  ].join("\n");
}
