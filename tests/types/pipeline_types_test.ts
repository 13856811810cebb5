/**
 * Which recipes compile. `deno check` is the test: a line under `@ts-expect-error` that compiles after all is an error,
 * and so is a sentence that differs.
 */
import { equal } from "node:assert/strict";
import {
  defineStep,
  type Fitting,
  type Nothing,
  type Pipeline,
  pipeline,
  type PipelineTypeError,
  replacing,
  type Thing,
  thing,
} from "../../pipeline/mod.ts";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;
function isTrue<_Claim extends true>(): void {}

const bases = thing<{ factor: number }>();
const latents = thing<number[], { count: number }>();
const words = thing<string[]>();

const load = defineStep({ name: "load", gives: { bases }, run: () => ({ bases: { factor: 2 } }) });
const cache = defineStep({
  name: "cache",
  needs: { bases },
  gives: { latents },
  plan: () => ({ gives: { latents: { count: 1 } } }),
  run: ({ bases }) => ({ latents: [bases.factor] }),
  store: "json",
});
const train = defineStep({
  name: "train",
  needs: { latents },
  releases: ["latents"],
  async run({ latents }, run) {
    await Promise.resolve();
    run.figures({ sum: latents.reduce((a, b) => a + b) });
  },
});
const again = defineStep({ name: "again", gives: { latents }, run: () => ({ latents: [1] }) });
const instead = defineStep({ name: "instead", gives: { latents: replacing(latents) }, run: () => ({ latents: [1] }) });
const giveWords = defineStep({ name: "words", gives: { latents: words }, run: () => ({ latents: ["one"] }) });

type Bases = Thing<{ factor: number }>;
type Latents = Thing<number[], { count: number }>;
type Refused<Step, Sentence extends string> = Same<Step, PipelineTypeError<Sentence>>;

Deno.test("steps in the right order compile, and the type tells what is there", () => {
  const recipe = pipeline("p").use(load).use(cache);
  isTrue<Same<typeof recipe, Pipeline<{ readonly bases: Bases; readonly latents: Latents }, never>>>();
  const after = recipe.use(train);
  isTrue<Same<typeof after, Pipeline<{ readonly bases: Bases }, "latents">>>();
  const anew = after.use(again);
  isTrue<Same<typeof anew, Pipeline<{ readonly bases: Bases; readonly latents: Latents }, never>>>();
  equal(anew.use(train).steps.length, 5);
});

Deno.test("a step defined in place gets its values typed", () => {
  const recipe = pipeline("p").use(load).use(defineStep({
    name: "print",
    needs: { bases },
    run: ({ bases }) => {
      isTrue<Same<typeof bases, { factor: number }>>();
    },
  }));
  equal(recipe.steps.length, 2);
});

Deno.test("a step whose need is missing does not compile", () => {
  // @ts-expect-error no step gives 'bases'
  const misplaced = () => pipeline("p").use(cache).use(load);
  isTrue<Refused<Fitting<Nothing, never, typeof cache>, "step needs 'bases', which no earlier step gives">>();
  equal(typeof misplaced, "function");
});

Deno.test("a step defined in place whose need is missing does not compile", () => {
  // @ts-expect-error no step gives 'bases'
  const misplaced = () => pipeline("p").use(defineStep({ name: "print", needs: { bases }, run: () => {} }));
  equal(typeof misplaced, "function");
});

Deno.test("a use after release does not compile", () => {
  // @ts-expect-error train released 'latents'
  const late = () => pipeline("p").use(load).use(cache).use(train).use(train);
  isTrue<Refused<Fitting<Nothing, "latents", typeof train>, "step needs 'latents', which an earlier step released">>();
  equal(typeof late, "function");
});

Deno.test("a needed thing of another type does not compile", () => {
  // @ts-expect-error 'latents' are words here
  const unlike = () => pipeline("p").use(giveWords).use(train);
  isTrue<
    Same<
      Fitting<{ latents: Thing<string[]> }, never, typeof train>["__pipelineTypeError__"],
      "step needs 'latents' of another type than the earlier step gives"
    >
  >();
  equal(typeof unlike, "function");
});

Deno.test("a planned value of another type does not compile, an undeclared one does", () => {
  const otherPlan = thing<number[], { pages: string }>();
  const noPlan = thing<number[]>();
  const given = (latents: Thing<number[]>) => ({ name: "g", gives: { latents }, run: () => ({ latents: [1] }) });
  // @ts-expect-error the plan has pages, not a count
  const unlike = () => pipeline("p").use(defineStep({ ...given(otherPlan), gives: { latents: otherPlan } })).use(train);
  equal(typeof unlike, "function");
  equal(pipeline("p").use(defineStep(given(noPlan))).use(train).steps.length, 2);
});

Deno.test("a name given twice compiles only as a replacement", () => {
  // @ts-expect-error 'latents' are there already
  const twice = () => pipeline("p").use(load).use(cache).use(again);
  isTrue<
    Refused<
      Fitting<{ latents: Latents }, never, typeof again>,
      "step gives 'latents', which an earlier step gave: declare it as replacing(…)"
    >
  >();
  equal(typeof twice, "function");
  // @ts-expect-error there are no 'latents' to replace
  const nothingThere = () => pipeline("p").use(instead);
  isTrue<Refused<Fitting<Nothing, never, typeof instead>, "step replaces 'latents', which no earlier step gives">>();
  equal(typeof nothingThere, "function");
  equal(pipeline("p").use(load).use(cache).use(instead).use(train).steps.length, 4);
});

Deno.test("a replacement may change the type for those that follow", () => {
  const toWords = defineStep({
    name: "to words",
    needs: { latents },
    gives: { latents: replacing(words) },
    run: ({ latents }) => ({ latents: latents.map(String) }),
  });
  const recipe = pipeline("p").use(again).use(toWords);
  isTrue<Same<typeof recipe, Pipeline<{ readonly latents: Thing<string[]> }, never>>>();
  // @ts-expect-error the latents are words by now
  const stale = () => recipe.use(train);
  equal(typeof stale, "function");
});

Deno.test("a step must give what it says, and release only what it needs", () => {
  // @ts-expect-error run gives 'latent'
  defineStep({ name: "typo", gives: { latents }, run: () => ({ latent: [1] }) });
  // @ts-expect-error run gives words
  defineStep({ name: "words", gives: { latents }, run: () => ({ latents: ["one"] }) });
  // @ts-expect-error run gives nothing
  defineStep({ name: "nothing", gives: { latents }, run: () => {} });
  // @ts-expect-error 'latents' are not needed
  const stranger = () => defineStep({ name: "release", needs: { bases }, releases: ["latents"], run: () => {} });
  // @ts-expect-error 'bases' are not needed
  defineStep({ name: "reach", needs: { latents }, run: ({ bases }) => void bases });
  const half = () =>
    // @ts-expect-error a store has two sides
    defineStep({ name: "half", gives: { latents }, run: () => ({ latents: [1] }), store: { save: () => {} } });
  equal(typeof stranger, typeof half);
});

Deno.test("only things that are there at the end can be kept", () => {
  const recipe = pipeline("p").use(load).use(cache).use(train);
  // @ts-expect-error train released 'latents'
  const late = () => recipe.run({ keep: ["latents"] });
  const kept = async () => {
    const { values } = await recipe.run({ keep: ["bases"] });
    isTrue<Same<typeof values.bases, { factor: number }>>();
    // @ts-expect-error not asked for
    values.latents;
  };
  equal(typeof late, typeof kept);
});

Deno.test("a step that gives nothing can be added on a condition", () => {
  const look = defineStep({ name: "look", needs: { bases }, run: () => {} });
  let recipe = pipeline("p").use(load);
  if (recipe.steps.length > 0) recipe = recipe.use(look);
  equal(recipe.use(cache).steps.length, 3);
});
