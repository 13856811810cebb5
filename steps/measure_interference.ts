import { pooledBytes, type Program } from "../engine/mod.ts";
import { deltaNorm } from "../lora/strength.ts";
import { defineStep, durationText, hashJson } from "../pipeline/mod.ts";
import { measureAdditivity, traceAdditivity } from "../training/additivity.ts";
import { planBatchFigures } from "../training/batch_figures.ts";
import type { BatchShape } from "../training/denoising.ts";
import type { PackedFigures } from "../training/packed_figures.ts";
import {
  hasHooks,
  hookPairs,
  measureHooks,
  measureResponses,
  traceHooks,
  traceResponses,
} from "../training/interference.ts";
import { compareModules } from "./lora_tools/measure.ts";
import { networkModules } from "./outputs/lora_files.ts";
import { bases, interference, network1, network2, probes } from "./things.ts";
import type { OpenedBases } from "./values/bases.ts";
import { checkOnAdapter } from "./values/check_adapter.ts";
import { checkOptions } from "./values/check_options.ts";
import type { Interference } from "./values/interference.ts";
import { buildNetwork, type PlannedNetwork } from "./values/network.ts";
import { type PlannedProbes, plannedShapes, probeBatch } from "./values/probes.ts";
import { estimatedTime, rememberStepTime } from "./values/step_times.ts";
import { trainingNoise } from "./values/training_loop.ts";

/** Options of `measureInterference`. */
export interface MeasureInterferenceOptions {
  /** Prompts that ask for both concepts, for the additivity error: each probe is tried with each of them; with its own prompt when left out. */
  readonly prompts?: readonly string[];
  /** Seed of the noise; 1 when left out. */
  readonly seed?: number;
}

/**
 * Measures how two networks get into each other's way in network 1's base: overlap and crosstalk of their weights, crosstalk on data, the method's terms at its two
 * hooks, and the additivity error; see docs/measure.md. Nothing is trained.
 */
export function measureInterference(options: MeasureInterferenceOptions = {}) {
  const name = "measure interference";
  checkOptions<MeasureInterferenceOptions>(name, options, { prompts: true, seed: true });
  const { prompts = [], seed = 1 } = options;
  if (!Array.isArray(prompts)) throw new TypeError("Cannot measure interference: prompts must be a list of prompts");
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new RangeError(`Cannot measure interference: seed is ${seed}, must be a whole number from 0 on`);
  }
  const asked = Math.max(1, prompts.length);
  return defineStep({
    name,
    version: 1,
    options,
    seeds: { seed },
    needs: { bases, network1, network2, probes },
    gives: { interference },
    plan: async ({ bases, network1, network2, probes }) => {
      const { programs, batches, key, peakGpuBytes } = planInterference(bases, [network1, network2], probes, asked);
      const time = await estimatedTime([{ key, steps: batches }]);
      return {
        figures: { pictures1: probes.network1.length, pictures2: probes.network2.length, peakGpuBytes },
        lines: [
          time === null
            ? "time: known after the first picture, it was not measured on this machine yet"
            : `about ${durationText(time.seconds)}, as measured before on ${time.adapters.join(" and ")}`,
          ...prompts,
        ],
        check: () => checkOnAdapter(programs, peakGpuBytes),
      };
    },
    run: async ({ bases, network1, network2, probes }, run) => {
      const { device, network1: base, tokenizer1: tokenizer } = bases, given = [network1, network2];
      const loras = given.map(({ options }, k) => buildNetwork(`network ${k + 1}`, base, options));
      const { batches: total, key } = planInterference(bases, given, probes, asked);
      const own = [probes.network1, probes.network2].map((each) => each.map((probe) => probeBatch(probe, tokenizer)));
      const stack = [...probes.network1, ...probes.network2].flatMap((probe) =>
        prompts.length === 0
          ? [probeBatch(probe, tokenizer)]
          : prompts.map((prompt) => probeBatch(probe, tokenizer, prompt))
      );
      const files = given.map((network) => networkModules(base, network));
      const changes = files.flat().some((module) => deltaNorm(module) > 0);
      let done = 0;
      const onBatch = () => run.progress({ done: ++done, total, unit: "batches" });
      const request = {
        ...{ base, network1: loras[0], network2: loras[1], noise: trainingNoise(bases, {}), seed },
        ...{ own: [own[0], own[1]] as const, onBatch, signal: run.signal },
      };
      try {
        given.forEach(({ weights }, k) => device.upload(loras[k].weights, weights));
        const started = performance.now();
        const responses = await measureResponses(device, request), hooks = await measureHooks(device, request);
        const additivity = changes ? await measureAdditivity(device, { ...request, batches: stack }) : null;
        const secondsPerStep = (performance.now() - started) / 1000 / Math.max(1, done);
        await rememberStepTime(key, { secondsPerStep, adapter: device.facts.name });
        const found: Interference = {
          modules: compareModules(files[0], files[1]).modules,
          ...{ responses, hooks, additivity },
          probes: {
            ...{ network1: probes.network1.length, network2: probes.network2.length },
            ...{ source: probes.source, prompts },
          },
        };
        if (additivity) run.figures({ "additivity error": additivity.error });
        return { interference: found };
      } finally {
        device.free(loras.map((lora) => lora.weights));
      }
    },
    store: "json",
  });
}

/** What is compiled, how many batches go through it, and what tells such work apart from other. */
function planInterference(
  { network1: base, network2: other }: OpenedBases,
  networks: readonly PlannedNetwork[],
  probes: PlannedProbes,
  prompts: number,
) {
  const [network1, network2] = networks.map(({ options }, k) => buildNetwork(`network ${k + 1}`, base, options));
  const own = [probes.network1, probes.network2].map(plannedShapes), of = { base, network1, network2 };
  const pairs = hasHooks(of) ? hookPairs(own[0], own[1]) : [], each = distinct(own.flat().map((shape) => [shape]));
  const figures = (trace: (shapes: readonly BatchShape[]) => PackedFigures, shapes: readonly BatchShape[][]) =>
    shapes.map((each) => planBatchFigures({ trace }, each));
  const programs: Program[] = [
    ...figures(([shape]) => traceResponses(of, shape), each),
    ...figures((both) => traceHooks(of, both), distinct(pairs)),
    ...figures(([shape]) => traceAdditivity(of, shape), each),
  ];
  const resident = [...new Set([base, other])].flatMap(({ variables }) => variables);
  const { parameterCount, options } = base, built = networks.map((network) => network.options);
  return {
    programs,
    batches: own.flat().length * (1 + prompts) + pairs.length,
    // One program at a time is on the device.
    peakGpuBytes: Math.max(...programs.map((program) => pooledBytes([program], resident))),
    key: hashJson(["interference", parameterCount, JSON.stringify([options, built, own, prompts])]),
  };
}

function distinct(shapes: readonly BatchShape[][]): BatchShape[][] {
  return [...new Map(shapes.map((each) => [JSON.stringify(each), each])).values()];
}
