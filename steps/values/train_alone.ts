import type { StepRun, Values } from "../../pipeline/mod.ts";
import { bases, data, latents } from "../things.ts";
import type { OpenedBases } from "./bases.ts";
import { checkOptions } from "./check_options.ts";
import { networkOptionNames, type NetworkOptions, networkOptions } from "./network.ts";
import { planTraining, type TrainingTask, trainNetworks } from "./network_training.ts";
import type { TrainingData } from "./training_data.ts";
import { checkTraining, trainingOptionNames, type TrainingOptions } from "./training_options.ts";

/** Options of the steps that train one network alone. */
export interface TrainAloneOptions extends TrainingOptions, NetworkOptions {}

const needs = { bases, data, latents };

/**
 * What the steps that train one network alone have in common; they differ in what they call what they give.
 *
 * @param name The step's name.
 * @param number Whose base and data the network is trained on.
 */
export function trainAlone(name: string, number: 1 | 2, options: TrainAloneOptions) {
  checkOptions<TrainAloneOptions>(name, options, { ...trainingOptionNames, ...networkOptionNames });
  checkTraining(options);
  const planned = { options: networkOptions(options) };
  const task: TrainingTask = {
    networks: [{ number, start: planned }],
    options,
    freezing: {},
    orthogonality: false,
  };
  return {
    definition: { name, version: 2, options, needs },
    planned,
    plan: (bases: OpenedBases, data: TrainingData) => planTraining(bases, data, task),
    train: async ({ bases, data, latents }: Values<typeof needs>, run: StepRun) =>
      (await trainNetworks(bases, data, latents, task, run))[0],
  };
}
