import type { Step } from "./step.ts";
import type { PlannedOf, Replacing, Thing, Things, ValueOf } from "./thing.ts";

/** A type that no value has: where the editor expects it, its parameter is the sentence that says what is wrong. */
export interface PipelineTypeError<Message extends string, Details = never> {
  readonly __pipelineTypeError__: Message;
  readonly __details__?: Details;
}

/** Any step. */
export type AnyStep = Step;

type Needs<S extends AnyStep> = S["needs"];
type Gives<S extends AnyStep> = S["gives"];
type Releases<S extends AnyStep> = S["releases"][number];
type Text<Name> = Name & string;

/** Needed names that are not there. */
type Missing<Context, S extends AnyStep> = Text<Exclude<keyof Needs<S>, keyof Context>>;

/** True if a thing that is there can be used as the one that is wanted. An undeclared plan fits any. */
type Usable<There, Wanted> = ValueOf<There> extends ValueOf<Wanted>
  ? unknown extends PlannedOf<There> ? true : PlannedOf<There> extends PlannedOf<Wanted> ? true : false
  : false;

/** Needed names that are there with another type. */
type Unlike<Context, S extends AnyStep> = Text<
  {
    [Name in keyof Needs<S>]: Name extends keyof Context
      ? Usable<Context[Name], Needs<S>[Name]> extends true ? never : Name
      : never;
  }[keyof Needs<S>]
>;

type ReplacedNames<S extends AnyStep> = Text<
  { [Name in keyof Gives<S>]: Gives<S>[Name] extends Replacing<unknown> ? Name : never }[keyof Gives<S>]
>;

/** Given names that are there already, though not declared as replacing. A name the step releases is free again. */
type Twice<Context, S extends AnyStep> = Text<
  Exclude<keyof Gives<S> & keyof Context, ReplacedNames<S> | Releases<S>>
>;

/** Names to be replaced that are not there. */
type NotReplaced<Context, S extends AnyStep> = Exclude<ReplacedNames<S>, Exclude<keyof Context, Releases<S>>>;

type MissingSentence<Name extends string, Gone extends string> = Name extends Gone
  ? `step needs '${Name}', which an earlier step released`
  : `step needs '${Name}', which no earlier step gives`;

/**
 * The step itself if it fits behind the steps so far, else the {@link PipelineTypeError} that says why not.
 *
 * @typeParam Context Things that are there so far, by name.
 * @typeParam Gone Names that an earlier step released.
 */
export type Fitting<Context extends Things, Gone extends string, S extends AnyStep> = [Missing<Context, S>] extends
  [never]
  ? [Unlike<Context, S>] extends [never]
    ? [Twice<Context, S>] extends [never] ? [NotReplaced<Context, S>] extends [never] ? S
      : PipelineTypeError<`step replaces '${NotReplaced<Context, S>}', which no earlier step gives`>
    : PipelineTypeError<`step gives '${Twice<Context, S>}', which an earlier step gave: declare it as replacing(…)`>
  : PipelineTypeError<
    `step needs '${Unlike<Context, S>}' of another type than the earlier step gives`,
    { [Name in Unlike<Context, S>]: { readonly given: Context[Name]; readonly needed: Needs<S>[Name] } }
  >
  : PipelineTypeError<MissingSentence<Missing<Context, S>, Gone>>;

/** Things that are there after a step. */
export type ContextAfter<Context extends Things, S extends AnyStep> = {
  readonly [Name in Exclude<keyof Context, Releases<S>> | keyof Gives<S>]: Name extends keyof Gives<S>
    ? Thing<ValueOf<Gives<S>[Name]>, PlannedOf<Gives<S>[Name]>>
    : Context[Name & keyof Context];
};

/** Names that are released and not given again after a step. */
export type GoneAfter<Gone extends string, S extends AnyStep> = Exclude<Gone | Releases<S>, keyof Gives<S>>;
