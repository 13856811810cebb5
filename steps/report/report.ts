import { durationText } from "../../pipeline/mod.ts";
import type { WeightInterference } from "../lora_tools/measure.ts";
import type { Machine } from "./machine.ts";
import { textTable } from "./text_table.ts";

/** What a column of pictures was made with. */
export type ColumnKind =
  | "base"
  | "character"
  | "outfit"
  | "outfit-without-orthogonality"
  | "stack"
  | "stack-without-orthogonality";

/** A plain value of JSON; settings are a nested record of them. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json | undefined };

/** One column of the picture grid and what was measured in it. */
export interface ReportColumn {
  readonly name: string;
  /** One column at most of each kind. */
  readonly kind: ColumnKind;
  /** Mean `kept` of the character's region; null where it was not measured. */
  readonly identityKept: number | null;
  /** Mean `kept` of the outfit's region; null where it was not measured. */
  readonly outfitTaken: number | null;
  /** Half of the 95 % interval of either, over pictures; null where there is none. */
  readonly identityHalf?: number | null;
  readonly outfitHalf?: number | null;
  /** Pictures that the figures are means of. */
  readonly pictures: number;
}

/** The figures of one training run, step by step. */
export interface ReportTraining {
  readonly name: string;
  /** Which network learned. */
  readonly network: 1 | 2;
  /** Whether the orthogonality terms were part of the loss. */
  readonly orthogonality: boolean;
  /** `values` under the trainer's names: `loss_2`, `orth_te`, `orth_unet`, `norm_2`, `learning_rate`; steps count from 0. */
  readonly steps: readonly {
    readonly step: number;
    readonly epoch: number;
    readonly values: Readonly<Record<string, number>>;
  }[];
}

/** Everything that a run of the demo reports: plain JSON, written as `report.json`. */
export interface Report extends Machine {
  readonly version: 1;
  /** Version of dualora. */
  readonly dualora: string;
  /** ISO 8601, UTC. */
  readonly created: string;
  /** The command as it was typed. */
  readonly command: string;
  readonly seed: number;
  readonly settings: { readonly [name: string]: Json | undefined };
  /** In the order they ran. */
  readonly stages: readonly { readonly name: string; readonly seconds: number }[];
  readonly training: readonly ReportTraining[];
  readonly columns: readonly ReportColumn[];
  /** How the weights of the first network 1 and the first network 2 interfere. */
  readonly interference?: WeightInterference & { readonly networks: readonly [string, string] };
  readonly notes: readonly string[];
  readonly files: readonly { readonly name: string; readonly bytes: number; readonly sha256: string }[];
  /** Name of the picture grid's file. */
  readonly samples: string;
}

/** What a stack shows of each concept, as a share of what that concept's LoRA shows alone. */
export interface StackShares {
  readonly column: ReportColumn;
  /** Null where either figure is missing, or the LoRA alone shows too little to compare with. */
  readonly identity: number | null;
  readonly outfit: number | null;
}

/** A LoRA that alone shows less than this of its concept taught too little for a share of it to mean anything. */
export const leastAlone = 0.1;

/** Steps at a run's end whose mean stands for how the run ended. */
const lastSteps = 20;

/**
 * Retention of each stack: stack / alone, for character and outfit.
 *
 * The stack without orthogonality is compared with the outfit alone of the same network where there is such a column, else with the outfit
 * alone that there is.
 */
export function stackShares({ columns }: Pick<Report, "columns">): StackShares[] {
  const find = (kind: ColumnKind) => columns.find((column) => column.kind === kind);
  return columns.filter(({ kind }) => kind === "stack" || kind === "stack-without-orthogonality").map((column) => {
    const sameNetwork = column.kind === "stack" ? undefined : find("outfit-without-orthogonality");
    return {
      column,
      identity: share(column.identityKept, find("character")?.identityKept),
      outfit: share(column.outfitTaken, (sameNetwork ?? find("outfit"))?.outfitTaken),
    };
  });
}

function share(stack: number | null, alone: number | null | undefined): number | null {
  return stack === null || alone === null || alone === undefined || alone < leastAlone ? null : stack / alone;
}

/** The run's outcome in a sentence or two, computed from its figures. */
export function resultText(report: Pick<Report, "columns">): string {
  const shares = stackShares(report);
  if (shares.length === 0) return "This run made no pictures with both LoRAs, so there is no stack to compare.";
  const lines: string[] = [];
  const complete = shares.filter(({ identity, outfit }) => identity !== null && outfit !== null);
  const [first, second] = complete.toSorted((a, b) => order(a) - order(b));
  if (first) {
    const name = (kind: ColumnKind) => `the stack ${kind === "stack" ? "with" : "without"} orthogonality`;
    const other = second
      ? `; ${name(second.column.kind)} kept ${figureText(second.identity)} and took ${figureText(second.outfit)}`
      : "";
    lines.push(
      `In this run ${name(first.column.kind)} kept ${
        figureText(first.identity)
      } of the identity that the character LoRA has alone ` +
        `and took ${figureText(first.outfit)} of the outfit that the outfit LoRA has alone${other}.`,
    );
  }
  for (const [kind, concept, figure] of aloneFigures) {
    const alone = report.columns.find((column) => column.kind === kind)?.[figure];
    if (alone === null || alone === undefined) lines.push(`The ${concept} LoRA alone was not measured.`);
    else if (alone < leastAlone) {
      lines.push(
        `The ${concept} LoRA alone shows next to nothing of its ${concept} (${figureText(alone)}): ` +
          "what a stack keeps of that cannot be told.",
      );
    }
  }
  if (lines.length === 0) lines.push("The stacks were not measured.");
  return lines.join(" ");
}

const aloneFigures = [["character", "character", "identityKept"], ["outfit", "outfit", "outfitTaken"]] as const;

function order({ column }: StackShares): number {
  return column.kind === "stack" ? 0 : 1;
}

/** A figure with two decimals; a dash where there is none. */
export function figureText(value: number | null): string {
  if (value === null) return "–";
  const text = Math.abs(value).toFixed(2);
  return value < 0 && text !== "0.00" ? `−${text}` : text;
}

/** A term of the loss with two digits that count: `0.92`, `6.9e-6`. */
export function termText(value: number): string {
  return value !== 0 && Math.abs(value) < 0.01 ? value.toExponential(1) : String(Number(value.toPrecision(2)));
}

/** Mean of a figure over a run's last 20 steps; undefined where the run has none of it. */
export function finalValue({ steps }: ReportTraining, name: string): number | undefined {
  const values = steps.slice(-lastSteps).map(({ values }) => values[name]).filter((value) => value !== undefined);
  return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Seconds of all stages together. */
export function totalSeconds({ stages }: Pick<Report, "stages">): number {
  return stages.reduce((sum, { seconds }) => sum + seconds, 0);
}

/** The summary for the terminal at a run's end: figures per column, outcome, terms, files. */
export function reportText(report: Report): string {
  const { columns, adapter } = report;
  const shares = new Map(stackShares(report).map((shares) => [shares.column, shares]));
  const cell = (figure: number | null, share: number | null | undefined) =>
    figureText(figure) + (share === null || share === undefined ? "" : ` (${figureText(share)} of alone)`);
  const rows = [
    ["", "identity kept", "outfit taken"],
    ...columns.map((column) => [
      column.name,
      cell(column.identityKept, shares.get(column)?.identity),
      cell(column.outfitTaken, shares.get(column)?.outfit),
    ]),
  ];
  const terms = report.training.flatMap((run) => {
    const text = finalValue(run, "orth_te"), unet = finalValue(run, "orth_unet");
    return text === undefined || unet === undefined
      ? []
      : [`${run.name}: orthogonality terms at the end ${termText(text)} (text), ${termText(unet)} (UNet)`];
  });
  const machine = `${adapter.name}${adapter.cpu ? " (CPU)" : ""}`;
  return [
    `dualora ${report.dualora}, seed ${report.seed}, ${machine}, ${durationText(totalSeconds(report))}`,
    ...textTable(rows),
    ...wrap(resultText(report)),
    ...terms,
    `Pictures: ${report.samples}`,
  ].join("\n");
}

/** Lines of at most 100 characters, broken at spaces. */
function wrap(text: string): string[] {
  return text.match(/.{1,100}(?:\s|$)/g)?.map((line) => line.trimEnd()) ?? [];
}
