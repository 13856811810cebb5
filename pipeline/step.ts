import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "../formats/atomic_file.ts";
import type { StepControl } from "./control.ts";
import type { DiskUse } from "./disk_space.ts";
import { canonicalJson, hashText } from "./hash.ts";
import type { Nothing, PlannedValues, Things, Values } from "./thing.ts";

/** What a running step is handed beside the values it needs. */
export interface StepRun {
  /**
   * The step's own folder, for checkpoints in the middle of its work. It is there, and keeps its content if the step is
   * stopped and run again with the same inputs; with other inputs it starts empty, and what was there is set aside.
   */
  readonly folder: string;
  /** Aborted when the user wants to stop. Long loops call `signal.throwIfAborted()`, after saving what they need. */
  readonly signal: AbortSignal;
  /** The recipe's earlier steps, and how long each took when its product was made. */
  readonly earlier: readonly { readonly name: string; readonly seconds: number }[];
  /** Reports how far the work is; the run adds the time left. */
  progress(
    progress: { done: number; total: number; unit: string; message?: string; lines?: readonly string[] },
  ): void;
  /** Reports named numbers, such as losses. */
  figures(values: { readonly [name: string]: number }): void;
  /**
   * Reports a file made for the user, outside the product. If it goes missing or is changed, the step is redone.
   *
   * @param options.isPassing True for a file or folder that may go missing later: the step is not redone for it.
   * @param options.shows What a picture shows, such as its prompt, for those who watch the run.
   */
  artifact(
    path: string,
    options?: { readonly isPassing?: boolean; readonly shows?: { readonly [name: string]: string | number } },
  ): void;
  /** Notes what of the machine decides the bits of what is made, such as the adapter, for the run's record. */
  machine(facts: { readonly [name: string]: unknown }): void;
  /** What the user wants of the run while it works; loops that save their work ask in every round. */
  readonly control: StepControl;
  /** Reports that all work so far is kept, as the user wished, and the files made for that. */
  saved(paths: readonly string[]): void;
  /** Reports something the user should know that does not stop the run. */
  warn(message: string): void;
}

/** How a step's product is written to disk and read back. */
export interface Store<Product> {
  /** Writes the product as plain files into an empty folder. Equal products should give equal bytes. */
  save(product: Product, folder: string): void | Promise<void>;
  /** Reads back what `save` wrote. The files have been checked to be as `save` left them. */
  load(folder: string): Product | Promise<Product>;
}

/** A start of a step before this one, with the same options as far as they decide its work. */
export interface EarlierStart {
  /** All options that it had. */
  readonly options: unknown;
  /** What its fingerprint was. */
  readonly fingerprint: unknown;
}

/** Something that a step reads and no step makes, such as a file of the user's, cannot be used: thrown by its plan, it keeps a run from starting. */
export class InputError extends Error {
  override name = "InputError";
}

/** What a step can say before it runs. */
export interface Plan<Planned = Nothing> {
  /** Named numbers: `{ stepsPerEpoch: 40, peakGpuBytes: 2 ** 30 }`. Names ending in Bytes and Seconds print as such. */
  readonly figures?: { readonly [name: string]: number };
  /** Sentences for the reader. */
  readonly lines?: readonly string[];
  /** What later steps may plan with, by the names of what the step gives. */
  readonly gives?: Partial<Planned>;
  /** What the step will write to the disk; a run asks before its first step whether there is room for it. */
  readonly disk?: readonly DiskUse[];
  /** Throws if the machine cannot do what is planned. A run asks before its first step; `describe()` does not. */
  readonly check?: () => MaybePromise<void>;
}

type MaybePromise<T> = T | Promise<T>;
type Made<Gives> = [keyof Gives] extends [never] ? void | Record<string, never> : Values<Gives>;

/** What {@link defineStep} is told. Only `name` and `run` must be there. */
export interface StepDefinition<Needs extends Things, Gives extends Things, Released extends string> {
  /** What the step does, in a few words: `"cache latents"`. */
  readonly name: string;
  /**
   * Number to raise when the same options should now make something else, so that old products are redone. Without it,
   * the source text of `run` and `store` counts: an edited script is redone, but not an edited function it calls.
   */
  readonly version?: number;
  /** Plain JSON data that decides the product; a change redoes the step. Nothing else from outside should decide it. */
  readonly options?: unknown;
  /**
   * What of the options decides whether the unfinished work of an earlier run is gone on with; all of them when left out. Such as where files are put may
   * change in between.
   */
  readonly workOptions?: unknown;
  /** Random seeds that the product depends on, those at their defaults too, for the run's record. */
  readonly seeds?: { readonly [name: string]: number | readonly number[] };
  /** Things that an earlier step must give, by name. */
  readonly needs?: Needs;
  /** Things the step makes, by name; {@link replacing} those of which an earlier one is there. */
  readonly gives?: Gives;
  /** Names among `needs` that no later step may use. */
  readonly releases?: readonly Released[];
  /** Paths outside of the run folder that no other run may write while this one is at work; from its start to its end it holds them. */
  readonly claims?: readonly string[];
  /**
   * Plain JSON data that stands for what the step reads from outside, such as hashes of files; a change redoes it.
   *
   * @param folder The run's folder; what spares it work the next time may be kept there, in a file of its own.
   * @param earlier A start whose unfinished work or whose product is there: what the step has read once, and needs no more, may be known by that.
   */
  fingerprint?(signal: AbortSignal, folder: string, earlier?: EarlierStart | undefined): unknown;
  /**
   * What can be known without running and without a GPU. Reading a needed thing that has no planned value ends the
   * plan, and `describe()` says which one it was.
   *
   * @param earlier As for `fingerprint`.
   */
  plan?(
    planned: PlannedValues<NoInfer<Needs>>,
    earlier?: EarlierStart | undefined,
  ): MaybePromise<Plan<PlannedValues<NoInfer<Gives>>>>;
  /** Does the work; returns what the step gives. What it gives must not lean on a needed value that is released. */
  run(values: Values<NoInfer<Needs>>, run: StepRun): MaybePromise<Made<NoInfer<Gives>>>;
  /**
   * How the product is kept on disk; `"json"` does for products that are plain JSON data. A step without a store runs
   * again when a later step that runs needs what it gives.
   */
  readonly store?: Store<Values<NoInfer<Gives>>> | "json";
}

/** A step as a recipe holds it: plain, frozen data and functions. Made by {@link defineStep}. */
export interface Step<Needs extends Things = Things, Gives extends Things = Things, Released extends string = string> {
  readonly name: string;
  /** Declared version, or a hash of the source text. */
  readonly version: string;
  readonly options: unknown;
  readonly workOptions: unknown;
  readonly seeds?: { readonly [name: string]: number | readonly number[] };
  readonly needs: Needs;
  readonly gives: Gives;
  readonly releases: readonly Released[];
  readonly claims: readonly string[];
  fingerprint?(signal: AbortSignal, folder: string, earlier?: EarlierStart | undefined): unknown;
  plan?(
    planned: PlannedValues<Needs>,
    earlier?: EarlierStart | undefined,
  ): MaybePromise<Plan<PlannedValues<Gives>>>;
  run(values: Values<Needs>, run: StepRun): MaybePromise<Made<Gives>>;
  readonly store?: Store<Values<Gives>>;
}

/**
 * Makes a step for a recipe: what it needs and gives, how it plans, runs, saves and loads.
 *
 * @returns The step, frozen; `needs`, `gives` and `releases` are there even if empty.
 * @throws {TypeError} If the definition is not complete or `options` is not plain JSON data.
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * const shout = defineStep({ name: "shout", options: { marks: 3 }, run: () => console.log("!!!") });
 * deepEqual(shout.options, { marks: 3 });
 * ```
 */
export function defineStep<
  Needs extends Things = Nothing,
  Gives extends Things = Nothing,
  const Released extends keyof Needs & string = never,
>(definition: StepDefinition<Needs, Gives, Released>): Step<Needs, Gives, Released> {
  const { name, run } = definition;
  const store = definition.store === "json" ? jsonStore<Values<Gives>>() : definition.store;
  if (typeof name !== "string" || folderWord(name) === "") {
    throw new TypeError(
      `Cannot define a step named ${JSON.stringify(name)}: a name needs at least one letter or digit`,
    );
  }
  const fail = (problem: string) => new TypeError(`Cannot define step '${name}': ${problem}`);
  if (typeof run !== "function") throw fail(`run is ${typeof run}, must be a function`);
  if (store && (typeof store.save !== "function" || typeof store.load !== "function")) {
    throw fail("store must have both functions, save and load");
  }
  // Step<Nothing, …> is what an absent field means; the type parameters' defaults say the same.
  const needs = Object.freeze({ ...definition.needs }) as Needs;
  const gives = Object.freeze({ ...definition.gives }) as Gives;
  for (const [field, things] of Object.entries<Things>({ needs, gives })) {
    const bad = Object.keys(things).find((key) => things[key]?.kind !== "thing");
    if (bad !== undefined) throw fail(`${field}.${bad} must be made by thing() or replacing()`);
  }
  const releases = Object.freeze([...definition.releases ?? []]);
  for (const released of releases) {
    if (!(released in needs)) throw fail(`it releases '${released}', which it does not need`);
  }
  const optionsJson = canonicalJson(definition.options ?? {}, "options", `step '${name}'`);
  const source = () => hashText([run, store?.save, store?.load].join("\n")).slice(0, 16);
  return Object.freeze({
    ...definition,
    version: definition.version === undefined ? `source ${source()}` : String(definition.version),
    // A copy, so that an object changed later cannot differ from what was checked and hashed.
    options: JSON.parse(optionsJson),
    workOptions: JSON.parse(
      canonicalJson(definition.workOptions ?? definition.options ?? {}, "workOptions", `step '${name}'`),
    ),
    needs,
    gives,
    releases,
    claims: Object.freeze([...definition.claims ?? []]),
    store,
  });
}

/** One file, `product.json`. To save a product that is not plain data is an error. */
function jsonStore<Product>(): Store<Product> {
  return {
    save: (product, folder) =>
      writeFileAtomically(join(folder, "product.json"), [
        new TextEncoder().encode(canonicalJson(product, "product") + "\n"),
      ]),
    load: async (folder) => JSON.parse(await readFile(join(folder, "product.json"), "utf8")),
  };
}

/** A name as part of a folder's name: letters and digits of any script, small, joined by hyphens. */
export function folderWord(name: string): string {
  return name.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "");
}
