import { savingClaims } from "../outputs/saving.ts";
import type { EarlierStart, PlannedValues, StepRun, Values } from "../../pipeline/mod.ts";
import { bases, data, latents } from "../things.ts";
import { withoutOutputs } from "../outputs/open_outputs.ts";
import { trainingFingerprint } from "../outputs/resumed_state.ts";
import { checkOptions } from "./check_options.ts";
import { networkOptionNames, networkOptions, type NetworkStartOptions } from "./network.ts";
import { type NetworkStart, resolveStart } from "./network_start.ts";
import { planTraining } from "./plan_training.ts";
import { type TrainingTask, trainNetworks } from "./network_training.ts";
import { checkTraining, trainingOptionNames, type TrainingOptions } from "./training_options.ts";

/** Options of the steps that train one network alone. */
export interface TrainAloneOptions extends TrainingOptions, NetworkStartOptions {}

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
  const built = networkOptions(name, options);
  const taskOf = (start: NetworkStart): TrainingTask => ({
    networks: [{ number, start }],
    options,
    freezing: {},
    orthogonality: false,
    stack: false,
  });
  return {
    definition: {
      name,
      version: 3,
      options,
      workOptions: withoutOutputs(options),
      seeds: { seed: options.seed ?? 1 },
      needs,
      claims: savingClaims(options.save),
      fingerprint: (_signal: AbortSignal, _folder: string, earlier: EarlierStart | undefined) =>
        trainingFingerprint(options, earlier, built),
    },
    /** The step's plan, and what is known of the network. */
    plan: async ({ bases, data, latents }: PlannedValues<typeof needs>, earlier: EarlierStart | undefined) => {
      const start = await resolveStart(built, number);
      return {
        plan: await planTraining(bases, data, latents, taskOf(start), earlier),
        planned: { options: start.options },
      };
    },
    train: async ({ bases, data, latents }: Values<typeof needs>, run: StepRun) =>
      (await trainNetworks(bases, data, latents, taskOf(await resolveStart(built, number)), run))[0],
  };
}
