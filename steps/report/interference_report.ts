import { hooks as hookNames } from "../../lora/orthogonality.ts";
import { type GroupResponse, groupResponse, type ModuleResponse } from "../../lora/responses.ts";
import type { Additivity } from "../../training/additivity.ts";
import type { HookFigures } from "../../training/interference.ts";
import { grouped, interferenceText, type Measurement } from "../lora_tools/measure.ts";
import type { Interference } from "../values/interference.ts";
import type { Machine } from "./machine.ts";
import type { Json, ReportTraining } from "./report.ts";
import { termText } from "./report.ts";
import type { RetentionBars } from "./retention_plot.ts";

/** What was measured in a base model. */
export interface InterferenceOnBase extends Machine {
  /** The base's name, as it was given. */
  readonly base: string;
  /** SHA-256 of what the base's files hold; equal for equal content. */
  readonly baseHash: string;
  readonly settings: { readonly [name: string]: Json | undefined };
  /** In the order they ran. */
  readonly stages: readonly { readonly name: string; readonly seconds: number }[];
  /** Columns of the picture grid; none where no pictures were made. */
  readonly pictures: readonly { readonly name: string; readonly prompt: string }[];
  readonly probes: Interference["probes"];
  readonly additivity: Additivity | null;
  readonly hooks: HookFigures;
  /** Crosstalk on data. */
  readonly crosstalk: {
    readonly all: GroupResponse;
    readonly parts: readonly GroupResponse[];
    readonly blocks: readonly GroupResponse[];
    readonly modules: readonly ModuleResponse[];
  };
  /** What each LoRA taught, alone and in the stack; empty where it cannot be read off the pictures. */
  readonly retention: readonly RetentionBars[];
}

/** All that is known of how two LoRAs interfere: plain JSON. */
export interface InterferenceReport extends Measurement {
  readonly onBase?: InterferenceOnBase;
  /** Curves of the trainings that made them, where their logs were given. */
  readonly training?: readonly ReportTraining[];
}

/** Crosstalk on data, summed up by parts and blocks. */
export function crosstalkOnData(modules: readonly ModuleResponse[]): InterferenceOnBase["crosstalk"] {
  return { ...grouped(modules, groupResponse), modules };
}

/** Hook metrics with their names, in the order of reports. */
export const hookLines = [
  ["textRest", "text term, all but the diagonal (1 − I)"],
  ["textDiagonal", "text term, the diagonal (I)"],
  ["unet", "UNet term (1 − I)"],
  ["textDivergence", "text divergence, nats"],
  ["unetDivergence", "UNet divergence, nats"],
] as const satisfies readonly (readonly [keyof HookFigures, string])[];

/** Crosstalk on data of the modules at the hooks, with names: a term can be small because one of the two is silent there. */
export function hookAnswers(modules: readonly ModuleResponse[]): (readonly [string, string])[] {
  return [["text", hookNames.textEncoder], ["UNet", hookNames.unet]].map(([part, name]) => {
    const { crosstalk } = groupResponse(name, modules.filter((module) => module.name === name));
    return [
      `crosstalk on data at the ${part} hook, 2 in 1 and 1 in 2`,
      crosstalk.map(interferenceText).join(" and "),
    ] as const;
  });
}

/** What additivity comes to, in a sentence. */
export function additivityText(additivity: Additivity | null): string {
  if (additivity === null) {
    return "Neither LoRA changes a prediction, so there is nothing to add up: zeros say nothing of how they get along.";
  }
  const silent = additivity.change1 === 0 ? 1 : additivity.change2 === 0 ? 2 : null;
  if (silent !== null) {
    return `LoRA ${silent} changes no prediction: the stack does what LoRA ${
      3 - silent
    } does alone, and zeros say nothing of how they get along.`;
  }
  const percent = `${(100 * additivity.error).toFixed(1)} %`;
  return `In the stack their changes of a prediction miss adding up by ${percent} of the changes' own squares.`;
}

/** What was measured in the base, as lines for people. */
export function onBaseText({ base, probes, additivity, hooks, crosstalk, retention }: InterferenceOnBase): string {
  const line = (name: string, cells: readonly string[]) =>
    [name.padEnd(16), ...cells.map((cell) => cell.padStart(8))].join(" ");
  const group = ({ name, modules, crosstalk }: GroupResponse) =>
    line(name, [String(modules), ...crosstalk.map(interferenceText)]);
  const kept = (value: number | null, half: number | null | undefined) =>
    value === null ? "–" : interferenceText(value) + (half == null ? "" : ` ± ${half.toFixed(3)}`);
  return [
    `in ${base}, on ${probes.network1} and ${probes.network2} ${probes.source}`,
    additivityText(additivity),
    ...additivity === null
      ? []
      : [`additivity error ${interferenceText(additivity.error)} over ${additivity.samples} predictions`],
    ...hookLines.map(([name, label]) => `${label}: ${hooks[name] === null ? "–" : termText(hooks[name])}`),
    ...hookAnswers(crosstalk.modules).map(([label, answers]) => `${label}: ${answers}`),
    "",
    line("on data", ["modules", "2 in 1", "1 in 2"]),
    group(crosstalk.all),
    ...(crosstalk.parts.length > 1 ? crosstalk.parts.map(group) : []),
    ...retention.length === 0 ? [] : ["", "identity kept, outfit taken (1: all, 0: as the base)"],
    ...retention.map((column) =>
      `${column.name.padEnd(16)} ${kept(column.identityKept, column.identityHalf)}, ${
        kept(column.outfitTaken, column.outfitHalf)
      }`
    ),
  ].join("\n");
}
