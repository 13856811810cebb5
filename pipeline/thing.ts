declare const carried: unique symbol;

/**
 * A named kind of value that steps hand on to each other, such as the base models or the cached latents.
 *
 * It is a label, not the value itself: steps put it under a name in their `needs` and `gives`. At run time it is only a
 * mark; for the type checker it carries two types.
 *
 * @typeParam Value What a step receives or makes when the recipe runs.
 * @typeParam Planned What is known of it without running, for `describe()`: shapes and counts, for instance.
 */
export interface Thing<Value, Planned = unknown> {
  readonly kind: "thing";
  /** There only if the step that gives it takes over from an earlier value of the same name. */
  readonly replaces?: true;
  readonly [carried]?: { readonly value: Value; readonly planned: Planned };
}

/** A {@link Thing} that takes over from an earlier value of the same name. */
export interface Replacing<Value, Planned = unknown> extends Thing<Value, Planned> {
  readonly replaces: true;
}

/** Things by name. */
export type Things = { readonly [name: string]: Thing<unknown> };

/** No things at all. */
export type Nothing = Record<never, never>;

/** Type of the value that a thing stands for. */
export type ValueOf<T> = T extends Thing<infer Value> ? Value : never;

/** Type of what is known of a thing before the run. */
export type PlannedOf<T> = T extends Thing<unknown, infer Planned> ? Planned : never;

/** The values of named things, under the same names. */
export type Values<T> = { readonly [Name in keyof T]: ValueOf<T[Name]> };

/** What is known of named things before the run, under the same names. */
export type PlannedValues<T> = { readonly [Name in keyof T]: PlannedOf<T[Name]> };

/**
 * Declares a kind of value that steps hand on: `const latents = thing<Latents, LatentShapes>()`.
 *
 * Declare it once and let every step name the same constant: `needs: { latents }`.
 *
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * const captions = thing<string[]>();
 * equal(captions.kind, "thing");
 * ```
 */
export function thing<Value, Planned = unknown>(): Thing<Value, Planned> {
  return Object.freeze({ kind: "thing" });
}

/**
 * Says, in a step's `gives`, that the value takes over from an earlier one of the same name.
 *
 * The step that replaces a value also takes over the duty to release it: often the new value is the old one, altered.
 *
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(replacing(thing<string[]>()).replaces, true);
 * ```
 */
export function replacing<Value, Planned>(of: Thing<Value, Planned>): Replacing<Value, Planned> {
  return Object.freeze({ kind: of.kind, replaces: true });
}
