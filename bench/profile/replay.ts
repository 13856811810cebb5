import { Device, type Program } from "../../engine/mod.ts";
import { timeBatch } from "../timing.ts";

type Step = Program["steps"][number];

/** What a group's replay should take: the wait at its end must be small beside it. */
const wantedMs = 25;
/** Dispatches of one submission. */
const mostDispatches = 8192;
const waits = 5;

/** Milliseconds of one dispatch of each kind of work: programs of one recipe have most of it in common. */
export type KnownTimes = Map<string, number>;

/**
 * Milliseconds of each of a program's steps, without timestamps: steps that do the same work on other data are a group, which is replayed as often as
 * the clock needs, on a device of its own with zeros in all buffers.
 *
 * A group's steps take turns, so that what they read is no warmer in the caches than in a run; where a group has a single step it is.
 *
 * @param known What was timed before, and is not timed again; what is timed now is added.
 */
export async function replayTimes(program: Program, known: KnownTimes = new Map()): Promise<Float64Array> {
  const groups = groupSteps(program), times = new Float64Array(program.steps.length);
  if ([...groups.keys()].some((work) => !known.has(work))) await timeGroups(program, groups, known);
  for (const [work, steps] of groups) for (const step of steps) times[step] = known.get(work)!;
  return times;
}

async function timeGroups(program: Program, groups: Map<string, number[]>, known: KnownTimes): Promise<void> {
  using device = await Device.open();
  const compiled = await device.compile(program);
  const time = async (steps: readonly number[]) => {
    const work = {
      run: () => compiled.replay(steps),
      wait: async () => {
        await device.readBuffers([]);
      },
    };
    return (await timeBatch(work, 1)).wallMs;
  };
  const waitMs = await least(waits, () => time([]));
  for (const [work, steps] of groups) {
    if (known.has(work)) continue;
    await time(steps);
    const most = Math.max(1, Math.floor(mostDispatches / steps.length));
    let rounds = 1, ms = await time(steps) - waitMs;
    while (ms < wantedMs && rounds < most) {
      // A little more than what seems to do; at most eight times as many, as the first times may be the wait's alone.
      rounds = Math.min(most, Math.ceil(rounds * Math.min(8, 1.2 * wantedMs / Math.max(ms, 0.1))));
      ms = await time(Array.from({ length: rounds }, () => steps).flat()) - waitMs;
    }
    known.set(work, Math.max(0, ms) / rounds / steps.length);
  }
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
