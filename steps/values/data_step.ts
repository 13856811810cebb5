import { defineStep, type Plan } from "../../pipeline/mod.ts";
import { data } from "../things.ts";
import { describeData } from "./describe_data.ts";
import type { TrainingData } from "./training_data.ts";

/** What was read, and what was left out, as sentences. */
export interface FoundData {
  readonly data: TrainingData;
  readonly warnings: readonly string[];
}

/** How a step reads data. */
export interface DataReading {
  readonly version: number;
  /** Options that decide what is read, without paths. */
  readonly options: object;
  readonly seeds: { readonly [name: string]: number };
  readonly read: () => Promise<FoundData>;
  /** Hashes of all files that count. */
  readonly record: (found: FoundData) => Promise<unknown>;
}

/** A step that gives the training data. What is missing or misplaced is found before anything is hashed. */
export function dataStep({ version, options, seeds, read, record }: DataReading) {
  // What the fingerprint was taken of serves the run behind it: thousands of captions take seconds to read.
  let found: Promise<FoundData> | null = null;
  return defineStep({
    name: "read data",
    version,
    options,
    seeds,
    gives: { data },
    fingerprint: async () => record(await (found = read())),
    plan: async (): Promise<Plan<{ data: TrainingData }>> => {
      const { data, warnings } = await read(), { figures, lines } = describeData(data);
      return { figures, lines: [...lines, ...warnings], gives: { data } };
    },
    run: async (_, run) => {
      const { data, warnings } = await (found ?? read());
      found = null;
      warnings.forEach(run.warn);
      return { data };
    },
  });
}
