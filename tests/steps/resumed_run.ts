/**
 * A training that goes on from a state in the folder that it saves into itself, under the same names. As a script it stands still, to be killed, when its
 * last state lies there and its product does not yet.
 *
 * @module
 */
import * as d from "../../mod.ts";

/** Network 2 against a frozen network 1, with a state after each step of which the last one is kept, and one at the end. */
export function resumedRun(from: { state: string } | null, steps: number, data: string, out: string) {
  const { state: resume } = from ?? {}, training = { rank: 2, parts: ["unet"] as const, learningRate: 1e-3 };
  const start = d.pipeline("resumed")
    .use(d.loadBases({ network1: "toy" }))
    .use(d.readDreambooth({
      ...{ network1: { train: `${data}/character` }, network2: { train: `${data}/outfit` } },
      ...{ resolution: 64, batchSize: 1 },
    }))
    .use(d.cacheLatents());
  const first = resume === undefined
    ? start.use(d.pretrainNetwork1({ ...training, steps: 1 }))
    : start.use(d.loadNetwork1({ state: resume }));
  const save = { folder: out, names: { network1: "mine" }, everySteps: 1, lastStepsState: 1, state: true };
  return first.use(d.freezeNetwork1({ mode: "full" })).use(
    d.trainNetwork2({ ...training, steps, save, ...(resume === undefined ? {} : { resume }) }),
  );
}

if (import.meta.main) {
  const [state, steps, data, out, folder] = Deno.args;
  await resumedRun({ state }, Number(steps), data, out).run({
    folder,
    onEvent: (event) => {
      if (event.type !== "artifact" || !event.path.endsWith("mine-state")) return;
      Deno.stdout.writeSync(new TextEncoder().encode("written\n"));
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    },
  });
}
