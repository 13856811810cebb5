import { deepEqual, equal, match, ok, rejects, throws } from "node:assert/strict";
import { join } from "node:path";
import * as d from "../../mod.ts";
import { inNewFolder, keptNetwork, runRecorded, smallData } from "./small_training.ts";

async function start(folder: string) {
  return d.pipeline("variants")
    .use(d.loadBases({ network1: "toy" }))
    .use(d.readDreambooth({ ...await smallData(folder), resolution: 64, batchSize: 1 }))
    .use(d.cacheLatents());
}

Deno.test("trainBoth keeps networks apart by other hooks, penalties on weights and the stack at once, and logs each term", () =>
  inNewFolder(async (folder) => {
    const hooks = { modules: "all", blockWeights: [0, ...new Array<number>(25).fill(1)] } as const;
    const recipe = (await start(folder)).use(d.trainBoth({
      ...{ rank: 2, steps: 2, learningRate: 1e-2 },
      orthogonality: { textEncoder: 0, unet: 0, hooks, down: 0.5, up: 2 },
      stack: { own: 0.5 },
    }));
    await recipe.run({ folder: join(folder, "run") });
    const { log, settings } = await keptNetwork(join(folder, "run"), "train-both-networks", "network2");
    const last = log.at(-1)!.values;
    for (const name of ["orth_hooks", "orth_down", "orth_up", "stack_own", "stack_other"]) ok(last[name] > 0, name);
    deepEqual(settings.stack, { own: 0.5 });
  }));

Deno.test("in a stack the captions of a UNet's network are encoded in every step, where the other has modules in the text encoder", () =>
  inNewFolder(async (folder) => {
    const lines = async (stack: boolean) => {
      const { steps } = await (await start(folder)).use(d.trainBoth({
        ...{ rank: 2, steps: 2, network2: { parts: ["unet"] } },
        ...(stack ? { stack: { own: 1 } } : {}),
      })).describe();
      return steps.at(-1)!.lines.filter((line) => line.includes("captions of network 2 once"));
    };
    equal((await lines(false)).length, 1);
    deepEqual(await lines(true), []);
  }));

Deno.test("two networks at one place of their bases are refused before anything is computed", () =>
  inNewFolder(async (folder) => {
    const recipe = (await start(folder)).use(d.trainBoth({ rank: 2, steps: 2, orthonormalPlace: 0 }));
    await rejects(
      recipe.describe(),
      /network 1 at orthonormalPlace 0 .*, network 2 at orthonormalPlace 0 .* takes rows 0 to 1;/,
    );
  }));

Deno.test("a layer without room for two orthonormal places ends a run before network 1 is trained", () =>
  inNewFolder(async (folder) => {
    // The toy's text encoder has 48 numbers in a layer: room for one network of rank 32.
    const training = { rank: 32, steps: 1, parts: ["text_encoder"] } as const;
    const recipe = (await start(folder)).use(d.pretrainNetwork1({ ...training, orthonormalPlace: 0 }))
      .use(d.freezeNetwork1({ mode: "full" })).use(d.trainNetwork2({ ...training, orthonormalPlace: 1 }));
    const message = /orthonormal at place 1: its layer has 48 inputs, room for 1 network of rank 32; lower the rank$/;
    await rejects(recipe.describe(), message);
    const { error, ran } = await runRecorded(recipe, { folder: join(folder, "run") });
    match(`${error?.message}`, message);
    deepEqual(ran, []);
  }));

Deno.test("a run in which network 1 never thaws, or orthogonality is never on, says so in its plan and while it runs", () =>
  inNewFolder(async (folder) => {
    const training = { rank: 1, steps: 1, parts: ["text_encoder"] } as const;
    const begun = (await start(folder)).use(d.pretrainNetwork1(training))
      .use(d.freezeNetwork1({ mode: "semi", annealEpoch: 1 })).use(d.trainNetwork2(training));
    const told = (texts: readonly string[]) => texts.filter((text) => text.includes("annealEpoch"));
    const lines = told((await begun.describe()).steps.at(-1)!.lines);
    equal(lines.length, 2);
    match(
      lines[0],
      /^network 1 is semi-frozen and never thaws: annealEpoch \(--anneal_epoch\) is 1, the run has 1 epoch/,
    );
    match(lines[1], /^orthogonality is never on: annealEpoch \(--anneal_epoch\) is 1, /);
    const { error, events } = await runRecorded(begun, { folder: join(folder, "run") });
    equal(error, null);
    deepEqual(told(events.flatMap((event) => event.type === "warning" ? [event.message] : [])), lines);
  }));

Deno.test("variants' options are refused by name, with what they are and what they must be", () => {
  const refuses = (options: Partial<d.TrainNetwork2Options>, message: RegExp) =>
    throws(() => d.trainNetwork2({ rank: 2, ...options }), message);
  refuses({ stack: { own: -1 } }, /^RangeError: Cannot train: stack.own is -1, must be a number from 0 on$/);
  refuses({ stack: { own: 0, other: 0 } }, /stack.own and stack.other are 0; leave stack out, or raise one of them$/);
  refuses({ stack: {}, orthogonality: { form: "original" } }, /stack cannot go with orthogonality.form original/);
  refuses({ orthogonality: { down: NaN } }, /^RangeError: Cannot train: orthogonality.down is NaN, must be a number$/);
  refuses({ orthogonality: { hooks: { modules: [] } } }, /^RangeError: Cannot hook modules: modules is \[\]/);
  refuses({ orthonormalPlace: 0.5 }, /^RangeError: .*orthonormalPlace is 0.5, must be a whole number from 0 on$/);
  throws(
    () => d.projectNetwork2({ side: "both" as "rows" }),
    /^RangeError: Cannot project network 2: side is "both", must be rows or columns$/,
  );
});
