import {
  earlier,
  epochDistance,
  epochMark,
  filePath,
  type SaveOptions,
  savingEpochs,
  statePath,
  stepDistance,
  stepMark,
} from "./saving.ts";

/** What a training saves, before it runs. */
export interface PlannedSaves {
  /** The files that are left at the end, each as a network's path. */
  readonly files: readonly ((number: 1 | 2) => string)[];
  readonly states: readonly string[];
  /** Most saves and states that are there at one time: an old one goes when the new one is whole. */
  readonly mostFiles: number;
  readonly mostStates: number;
}

/** What is saved again and again. */
interface Repeated {
  /** Epochs or steps between two saves; null for never. */
  readonly every: number | null;
  /** The last epoch or step after which it may be saved. */
  readonly end: number;
  readonly path: (time: number, number: 1 | 2) => string;
}

/** What a training will save. */
export function plannedSaves(
  options: SaveOptions,
  { epochs, stepsPerEpoch, totalSteps, networks: [{ number: first }] }: {
    readonly epochs: number;
    readonly stepsPerEpoch: number;
    readonly totalSteps: number;
    readonly networks: readonly { readonly number: 1 | 2 }[];
  },
): PlannedSaves {
  const { everySteps = null, lastEpochs, lastSteps, lastEpochsState = lastEpochs, lastStepsState = lastSteps } =
    options;
  const everyEpochs = savingEpochs(options, epochs), hasState = options.state === true;
  // The last epoch's are those of the end.
  const byEpochs = { every: everyEpochs, end: Math.ceil(totalSteps / stepsPerEpoch) - 1 };
  const bySteps = { every: everySteps, end: totalSteps };
  const files = [
    saved(
      { ...byEpochs, path: (epoch, number) => filePath(options, number, "epoch", epochMark(epoch)) },
      epochDistance(lastEpochs, everyEpochs),
    ),
    saved(
      { ...bySteps, path: (step, number) => filePath(options, number, "at", stepMark(step)) },
      stepDistance(lastSteps),
    ),
  ];
  const states = hasState
    ? [
      saved(
        { ...byEpochs, path: (epoch) => statePath(options, first, "epoch", epochMark(epoch)) },
        epochDistance(lastEpochsState, everyEpochs),
      ),
      saved(
        { ...bySteps, path: (step) => statePath(options, first, "at", stepMark(step)) },
        stepDistance(lastStepsState),
      ),
      { kept: [() => statePath(options, first, "last", "")], most: 1 },
    ]
    : [];
  const most = (all: readonly { readonly most: number }[]) => all.reduce((sum, each) => sum + each.most, 0);
  return {
    files: files.flatMap(({ kept }) => kept),
    states: states.flatMap(({ kept }) => kept.map((path) => path(first))),
    mostFiles: most(files),
    mostStates: most(states),
  };
}

/** The paths that are left of what is saved repeatedly, and how many there are at most. */
function saved({ every, end, path }: Repeated, distance: number | undefined) {
  const last = every === null ? 0 : end - end % every;
  if (every === null || last === 0) return { kept: [], most: 0 };
  const gone = new Set(earlier(last, every, distance)), count = last / every;
  const kept = Array.from({ length: count }, (_, at) => (at + 1) * every).filter((time) => !gone.has(time));
  return { kept: kept.map((time) => (number: 1 | 2) => path(time, number)), most: Math.min(count, kept.length + 1) };
}
