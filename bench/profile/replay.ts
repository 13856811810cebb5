import { Device, type Program } from "../../engine/mod.ts";
import { timeBatch } from "../timing.ts";

type Step = Program["steps"][number];

/** A group is replayed until it takes so long: the wait at its end must be small beside it. */
const wantedMs = 60;
/** Dispatches of one submission. */
const mostDispatches = 8192;
const waits = 5, repeats = 2;

/**
 * Milliseconds of each of a program's steps, without timestamps: steps that do the same work on other data are a group, which is replayed as often as
 * the clock needs, on a device of its own with zeros in all buffers.
 *
 * A group's steps take turns, so that what they read is no warmer in the caches than in a run; where a group has a single step it is.
 */
export async function replayTimes(program: Program): Promise<Float64Array> {
  using device = await Device.open();
  const compiled = await device.compile(program), times = new Float64Array(program.steps.length);
  let steps: number[] = [];
  const work = {
    run: () => compiled.replay(steps),
    wait: async () => {
      await device.readBuffers([]);
    },
  };
  const waitMs = await least(waits, async () => (await timeBatch(work, 1)).wallMs);
  for (const group of groupSteps(program).values()) {
    let rounds = 1, ms = 0;
    const time = async () => {
      steps = Array.from({ length: rounds }, () => group).flat();
      return (await timeBatch(work, 1)).wallMs - waitMs;
    };
    await time();
    while ((ms = await time()) < wantedMs && 2 * rounds * group.length <= mostDispatches) rounds *= 2;
    ms = Math.min(ms, await least(repeats, time));
    for (const step of group) times[step] = Math.max(0, ms) / rounds / group.length;
  }
  return times;
}

async function least(count: number, measure: () => Promise<number>): Promise<number> {
  let smallest = Infinity;
  for (let i = 0; i < count; i++) smallest = Math.min(smallest, await measure());
  return smallest;
}

/** Places of the dispatches by what they do: the same op, types and attributes. */
function groupSteps(program: Program): Map<string, number[]> {
  const groups = new Map<string, number[]>();
  for (const [place, step] of program.steps.entries()) {
    if (step.kind === "clear") continue;
    const key = workOf(step), known = groups.get(key);
    if (known) known.push(place);
    else groups.set(key, [place]);
  }
  return groups;
}

function workOf(step: Exclude<Step, { kind: "clear" }>): string {
  const sizes = step.bindings.map(({ sizeBytes, access }) => [sizeBytes, access]);
  if (step.kind === "copy") return JSON.stringify(["copy", sizes]);
  const { op, inputs, outputs, attributes } = step.node;
  const types = [...inputs, ...outputs].map((tensor) => tensor && [tensor.shape, tensor.dtype]);
  return JSON.stringify([op.name, types, attributes, sizes]);
}
