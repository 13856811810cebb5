import type { Description, StepDescription } from "../pipeline/mod.ts";

/** What the figures of training steps are called in the table, in its order. */
const columns: Readonly<Record<string, string>> = {
  stepsPerEpoch: "steps an epoch",
  epochs: "epochs",
  totalSteps: "steps in all",
  parametersTrained: "weights trained",
  peakGpuBytes: "memory of the device",
};

/**
 * What a run will do, before it does: each step's own sentences, and a table of steps, epochs, weights and memory.
 *
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * const step = { name: "train", options: {}, needs: [], gives: [], replaces: [], releases: [], stored: true, lines: ["quietly"],
 *   figures: { stepsPerEpoch: 30, epochs: 4, totalSteps: 100, peakGpuBytes: 3 * 2 ** 20 } };
 * equal(runTable({ name: "run", steps: [step] }), `train: quietly
 *
 *        steps an epoch  epochs  steps in all  memory of the device
 * train              30       4           100               3.0 MiB
 *
 * train: the last of 4 epochs ends after 10 of its 30 steps`);
 * ```
 */
export function runTable({ steps }: Description): string {
  const sentences = steps.filter(({ lines }) => lines.length > 0).flatMap(({ name, lines }) =>
    lines.length === 1 ? [`${name}: ${lines[0]}`] : [`${name}:`, ...lines.map((line) => `    ${line}`)]
  );
  const trainings = steps.filter(({ figures }) => figures.totalSteps !== undefined);
  const shown = Object.keys(columns).filter((name) => trainings.some(({ figures }) => figures[name] !== undefined));
  const rows = [
    ["", ...shown.map((name) => columns[name])],
    ...trainings.map(({ name, figures }) => [name, ...shown.map((figure) => figureText(figure, figures[figure]))]),
  ];
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const table = rows.map((row) =>
    row.map((text, column) => column === 0 ? text.padEnd(widths[0]) : text.padStart(widths[column])).join("  ")
  );
  return [sentences, trainings.length > 0 ? table : [], trainings.flatMap(lastEpoch)].filter((block) =>
    block.length > 0
  )
    .map((block) => block.join("\n")).join("\n\n");
}

function figureText(name: string, value: number | undefined): string {
  if (value === undefined) return "";
  if (name !== "peakGpuBytes") return value.toLocaleString("en-US");
  const isLarge = value >= 2 ** 30;
  return `${(value / 2 ** (isLarge ? 30 : 20)).toFixed(1)} ${isLarge ? "GiB" : "MiB"}`;
}

/** Says so where the steps do not fill the last epoch. */
function lastEpoch({ name, figures: { stepsPerEpoch, epochs, totalSteps } }: StepDescription): string[] {
  const left = totalSteps % stepsPerEpoch;
  return left === 0 ? [] : [`${name}: the last of ${epochs} epochs ends after ${left} of its ${stepsPerEpoch} steps`];
}
