import type { ModuleInterference } from "../../lora/interference.ts";
import type { ModuleResponse } from "../../lora/responses.ts";
import type { Additivity } from "../../training/additivity.ts";
import type { HookFigures } from "../../training/interference.ts";

/** How two networks get into each other's way, by their weights and in their base. */
export interface Interference {
  /** Of each module that both have, by their weights. */
  readonly modules: readonly ModuleInterference[];
  /** Of each of them, on the networks' data. */
  readonly responses: readonly ModuleResponse[];
  readonly hooks: HookFigures;
  /** Null where the networks change no prediction. */
  readonly additivity: Additivity | null;
  /** What it was measured on. */
  readonly probes: {
    readonly network1: number;
    readonly network2: number;
    readonly source: string;
    /** Asked of the stack; empty where each probe's own prompt is. */
    readonly prompts: readonly string[];
  };
}
