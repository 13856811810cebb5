import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { join } from "node:path";
import * as d from "../../mod.ts";
import { inNewFolder, keptNetwork, smallData } from "./small_training.ts";

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
