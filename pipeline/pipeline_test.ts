import { deepEqual, equal, rejects, throws } from "node:assert/strict";
import { type AnyStep, defineStep, descriptionText, Pace, Pipeline, pipeline, replacing, thing } from "./mod.ts";
import { canonicalJson, hashJson, hashText } from "./hash.ts";

const images = thing<string[], { count: number }>();
const latents = thing<number[], { count: number }>();
const read = (options: { folder: string }) =>
  defineStep({
    name: "read images",
    options,
    gives: { images },
    plan: () => ({ figures: { images: 12 }, gives: { images: { count: 12 } } }),
    run: () => ({ images: [] }),
  });
const cache = defineStep({
  name: "cache latents",
  needs: { images },
  gives: { latents },
  releases: ["images"],
  plan: ({ images }) => ({
    figures: { peakGpuBytes: images.count * 2 ** 20 },
    lines: [`${images.count} latents`],
    gives: { latents: { count: images.count } },
  }),
  run: () => ({ latents: [] }),
});

Deno.test("use() leaves the recipe as it was and returns a longer one", () => {
  const empty = pipeline("p");
  const one = empty.use(read({ folder: "a" }));
  deepEqual([empty.steps.length, one.steps.length], [0, 1]);
  throws(() => (one.steps as AnyStep[]).push(cache as AnyStep), TypeError);
});

Deno.test("use() refuses untyped misfits with the sentences of the type errors", () => {
  const untyped = (...steps: unknown[]) => () =>
    steps.reduce<Pipeline>((recipe, step) => recipe.use(step as never) as Pipeline, new Pipeline("p", []));
  const again = defineStep({ name: "again", gives: { latents }, run: () => ({ latents: [] }) });
  const instead = defineStep({ name: "instead", gives: { latents: replacing(latents) }, run: () => ({ latents: [] }) });
  const cannot = (name: string) => `Cannot use step '${name}' in recipe 'p': step`;
  throws(untyped(cache), new TypeError(`${cannot("cache latents")} needs 'images', which no earlier step gives`));
  throws(
    untyped(read({ folder: "a" }), cache, cache),
    new TypeError(`${cannot("cache latents")} needs 'images', which an earlier step released`),
  );
  throws(
    untyped(again, again),
    new TypeError(`${cannot("again")} gives 'latents', which an earlier step gave: declare it as replacing(…)`),
  );
  throws(untyped(instead), new TypeError(`${cannot("instead")} replaces 'latents', which no earlier step gives`));
  equal(untyped(again, instead)().steps.length, 2);
});

Deno.test("defineStep() refuses options that are not plain data, by name", () => {
  const define = (options: unknown) => () => defineStep({ name: "s", options, run() {} });
  const refusal = (path: string, found: string) =>
    new TypeError(
      `Cannot write options.${path} of step 's' as JSON: it is ${found}; use text, finite numbers, lists, plain objects`,
    );
  throws(define({ loss: [() => 1] }), refusal("loss[0]", "a function"));
  throws(define({ rate: NaN }), refusal("rate", "NaN"));
  throws(define({ at: new Date(0) }), refusal("at", "a Date"));
  throws(define({ list: [undefined] }), refusal("list[0]", "undefined"));
  const loop: Record<string, unknown> = {};
  loop.self = loop;
  throws(define(loop), refusal("self", "part of itself"));
  deepEqual(define({ a: 1, b: undefined })().options, { a: 1 });
});

Deno.test("defineStep() takes a copy of its options", () => {
  const options = { epochs: 1 };
  const step = defineStep({ name: "s", options, run() {} });
  options.epochs = 2;
  deepEqual(step.options, { epochs: 1 });
});

Deno.test("defineStep() refuses names that no folder can have and releases it does not need", () => {
  throws(() => defineStep({ name: "../", run() {} }), /at least one letter or digit/);
  throws(
    () => defineStep({ name: "s", releases: ["x" as never], run() {} }),
    /it releases 'x', which it does not need/,
  );
});

Deno.test("describe() hands planned values on and returns plain data", async () => {
  const description = await pipeline("p").use(read({ folder: "a" })).use(cache).describe();
  deepEqual(JSON.parse(JSON.stringify(description)), {
    name: "p",
    steps: [
      {
        name: "read images",
        options: { folder: "a" },
        needs: [],
        gives: ["images"],
        replaces: [],
        releases: [],
        stored: false,
        figures: { images: 12 },
        lines: [],
        disk: [],
      },
      {
        name: "cache latents",
        options: {},
        needs: ["images"],
        gives: ["latents"],
        replaces: [],
        releases: ["images"],
        stored: false,
        figures: { peakGpuBytes: 12 * 2 ** 20 },
        lines: ["12 latents"],
        disk: [],
      },
    ],
  });
  equal(
    descriptionText(description),
    `p

 1. read images
    gives images
    folder: "a"
    images: 12

 2. cache latents
    needs images · gives latents · releases images
    peak gpu: 12.0 MiB
    12 latents`,
  );
});

Deno.test("describe() says what a plan lacks when an earlier step plans nothing", async () => {
  const mute = defineStep({ name: "mute", gives: { images }, run: () => ({ images: [] }) });
  const { steps } = await pipeline("p").use(mute).use(cache).describe();
  deepEqual([steps[0].unplanned, steps[1].unplanned], [undefined, "images"]);
});

Deno.test({
  name: "describe() names a run folder that Deno opens to no program with permissions of its own, and says what to do",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    rejects(pipeline("images").use(read({ folder: "data" })).describe({ folder: "/proc/runs" }), {
      name: "NotWritableError",
      message:
        /^Cannot write \/proc\/runs: Deno does not let this program \(Requires \w+ access to "\/proc\/runs.*"\): .*; name another folder$/,
    }),
});

Deno.test("Pace forgets a slow start and measures other work anew", () => {
  const pace = new Pace();
  pace.after({ done: 0, total: 1000, nowSeconds: 0 });
  // The first report takes a minute, each later one a second: after 20 of them the minute no longer counts.
  let left: number | undefined;
  for (let done = 1; done <= 25; done++) left = pace.after({ done, total: 1000, nowSeconds: 60 + done }).etaSeconds;
  equal(left, 975);
  deepEqual(pace.after({ done: 1, total: 10, nowSeconds: 100 }), {});
  deepEqual(pace.after({ done: 2, total: 10, nowSeconds: 102 }), { secondsEach: 2, etaSeconds: 16 });
});

Deno.test("Pace does not count work of an earlier run", () => {
  const pace = new Pace();
  pace.after({ done: 500, total: 600, nowSeconds: 0 });
  equal(pace.after({ done: 501, total: 600, nowSeconds: 2 }).etaSeconds, 198);
});

Deno.test("canonicalJson() is the same for equal data and parses back to it", () => {
  const data = { b: [1, -0.5, 1e21, "é\n"], a: { y: null, x: true } };
  equal(canonicalJson(data, "data"), canonicalJson({ a: { x: true, y: null }, b: data.b }, "data"));
  deepEqual(JSON.parse(canonicalJson(data, "data")), data);
  // Source: `printf abc | sha256sum`.
  equal(hashText("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  equal(hashJson({ b: 1, a: 2 }), hashText('{"a":2,"b":1}'));
});
