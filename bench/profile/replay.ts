import { Device, dispatchesOf, type Program } from "../../engine/mod.ts";
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
 * Milliseconds of each of a program's steps, without timestamps: dispatches that do the same work on other data are a group, which is replayed as often as
 * the clock needs, on a device of its own with zeros in all buffers.
 *
 * A group's dispatches take turns, so that what they read is no warmer in the caches than in a run; where a group has a single one it is.
 *
 * @param known What was timed before, and is not timed again; what is timed now is added.
 */
export async function replayTimes(program: Program, known: KnownTimes = new Map()): Promise<Float64Array> {
  using device = await Device.open();
  const dispatches = dispatchesOf(program, device.facts.target).flatMap((each) => "steps" in each ? [each.steps] : []);
  const groups = groupDispatches(program, dispatches), times = new Float64Array(program.steps.length);
  if ([...groups.keys()].some((work) => !known.has(work))) await timeGroups(device, program, groups, known);
  for (const [work, group] of groups) {
    for (const dispatch of group) {
      // A step whose kernel has two dispatches is in both; the group's time is their mean.
      for (const step of dispatches[dispatch]) times[step] += known.get(work)! / dispatches[dispatch].length;
    }
  }
  return times;
}

async function timeGroups(
  device: Device,
  program: Program,
  groups: ReadonlyMap<string, number[]>,
  known: KnownTimes,
): Promise<void> {
  const compiled = await device.compile(program);
  const time = async (dispatches: readonly number[]) => {
    const work = {
      run: () => compiled.replay(dispatches),
      wait: async () => {
        await device.readBuffers([]);
      },
    };
    return (await timeBatch(work, 1)).wallMs;
  };
  const waitMs = await least(waits, () => time([]));
  for (const [work, dispatches] of groups) {
    if (known.has(work)) continue;
    await time(dispatches);
    const most = Math.max(1, Math.floor(mostDispatches / dispatches.length));
    let rounds = 1, ms = await time(dispatches) - waitMs;
    while (ms < wantedMs && rounds < most) {
      // A little more than what seems to do; at most eight times as many, as the first times may be the wait's alone.
      rounds = Math.min(most, Math.ceil(rounds * Math.min(8, 1.2 * wantedMs / Math.max(ms, 0.1))));
      ms = await time(Array.from({ length: rounds }, () => dispatches).flat()) - waitMs;
    }
    known.set(work, Math.max(0, ms) / rounds / dispatches.length);
  }
}

async function least(count: number, measure: () => Promise<number>): Promise<number> {
  let smallest = Infinity;
  for (let i = 0; i < count; i++) smallest = Math.min(smallest, await measure());
  return smallest;
}

/** Places of the dispatches by what they do: the same ops, types and attributes. */
function groupDispatches(program: Program, dispatches: readonly (readonly number[])[]): Map<string, number[]> {
  return Map.groupBy(
    dispatches.keys(),
    (dispatch) => JSON.stringify(dispatches[dispatch].map((step) => workOf(program.steps[step]))),
  );
}

function workOf(step: Step): string {
  const sizes = step.bindings.map(({ sizeBytes, access }) => [sizeBytes, access]);
  if (step.kind !== "node") return JSON.stringify([step.kind, sizes]);
  const { op, inputs, outputs, attributes } = step.node;
  const types = [...inputs, ...outputs].map((tensor) => tensor && [tensor.shape, tensor.dtype]);
  return JSON.stringify([op.name, types, attributes, sizes]);
}
