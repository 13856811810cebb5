import type { Network } from "../values/network.ts";
import { settingEffect } from "./setting_effects.ts";
import { StateError } from "./state_folder.ts";

/** One network of a state, as far as its numbers mean something only for what is equal in this. */
export interface StateNetwork {
  readonly number: 1 | 2;
  /** Hash of the base model's content. */
  readonly base: string;
  readonly rank: number;
  /** Null: no modules for 3×3 convolutions. */
  readonly convRank: number | null;
  readonly parts: readonly string[];
  /** Hash of its modules' names and shapes. */
  readonly modules: string;
  readonly optimizer: string;
  /** How it is built, and what was known of it before this training, where it came from one. */
  readonly before: Omit<Network, "weights">;
}

/** What a state belongs to. */
export interface StateFacts {
  readonly networks: readonly StateNetwork[];
  /** All other settings, plain JSON. */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** How each fact of a network is called, and what somebody can do who finds another one. */
const advice: Readonly<
  Record<Exclude<keyof StateNetwork, "number" | "before">, readonly [name: string, advice: string]>
> = {
  base: ["another base model", "Train on the base model that the state was made with"],
  rank: ["another rank (--network_dim)", "Take the state's"],
  convRank: ["another rank of 3×3 convolutions (conv_dim)", "Take the state's"],
  parts: ["other parts", "Train the parts that the state was made with"],
  modules: ["other modules", "Take the network's settings that the state was made with"],
  optimizer: ["another optimizer (--optimizer_type)", "Take the state's: another's numbers mean nothing to it"],
};

/**
 * Refuses a state that does not fit a training, and tells what is otherwise than it was.
 *
 * @param folder The state's, for messages.
 * @param found What the state belongs to.
 * @param wanted What the training is.
 * @returns A sentence for each other setting that is not as it was, and what that means.
 * @throws {StateError} If it is of other networks, another base model, rank, shape or optimizer.
 */
export function compareState(folder: string, found: StateFacts, wanted: StateFacts): string[] {
  const numbers = ({ networks }: StateFacts) => networks.map(({ number }) => number).join(" and ");
  if (numbers(found) !== numbers(wanted)) {
    throw new StateError(folder, `it holds network ${numbers(found)}, this step trains network ${numbers(wanted)}`);
  }
  for (const [k, network] of wanted.networks.entries()) {
    for (const [fact, [name, what]] of Object.entries(advice) as [keyof typeof advice, readonly [string, string]][]) {
      const [was, is] = [found.networks[k], network].map((each) => JSON.stringify(each[fact]));
      if (was === is) continue;
      // A hash says nothing to a reader.
      const values = fact === "base"
        ? "the state was made with another one"
        : fact === "modules"
        ? "the state was made with others"
        : `the state has ${was}, this training ${is}`;
      throw new StateError(folder, `network ${network.number} has ${name}: ${values}. ${what}`);
    }
  }
  return differences(found.settings, wanted.settings).map(({ name, was, is }) =>
    `going on from ${folder}: ${changeText(name, was, is)}; ` +
    settingEffect(name, wanted.settings).meaning
  );
}

/** Hashes say nothing to a reader, and states of older versions do not name all. */
function changeText(name: string, was: unknown, is: unknown): string {
  return name.endsWith(".pictures")
    ? `in ${name} files or captions were added, taken away or changed`
    : `${name} was ${text(was)}, and is ${text(is)} now`;
}

function text(value: unknown): string {
  return value === undefined ? "left out" : JSON.stringify(value);
}

function differences(found: unknown, wanted: unknown, name = ""): { name: string; was: unknown; is: unknown }[] {
  if (!isRecord(found) || !isRecord(wanted)) {
    return text(found) === text(wanted) ? [] : [{ name, was: found, is: wanted }];
  }
  const names = new Set([...Object.keys(found), ...Object.keys(wanted)]);
  return [...names].flatMap((each) => differences(found[each], wanted[each], name === "" ? each : `${name}.${each}`));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
