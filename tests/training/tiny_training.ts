/**
 * Training of the tiny model with weights and pictures by rule, for tests of what a trainer does.
 *
 * @module
 */
import { Device } from "../../engine/mod.ts";
import { uniformByRule, weightByRule } from "../../formats/weights_by_rule.ts";
import { LoraNetwork, type LoraOptions } from "../../lora/network.ts";
import { BaseModel } from "../../models/base_model.ts";
import type { LayerInfo } from "../../models/source.ts";
import type { TrainableBase } from "../../training/denoising.ts";
import type { TrainBatch } from "../../training/feeds.ts";
import type { NetworkSettings } from "../../training/network_settings.ts";
import { type StepFigures, Trainer, type TrainerNetwork, type TrainerState } from "../../training/trainer.ts";
import type { TrainerOptions } from "../../training/trainer.ts";

/** The tiny model on a device of its own; both end with the process. */
export async function openTiny(): Promise<{ device: Device; base: BaseModel }> {
  const device = await Device.open();
  const base = await BaseModel.open(new URL("../golden/training/tiny", import.meta.url).pathname);
  await base.loadByRule(device, 0);
  addEventListener("unload", () => device.dispose());
  return { device, base };
}

/** A network on the tiny model. */
export function tinyNetwork(
  base: BaseModel,
  number: 1 | 2,
  settings: NetworkSettings,
  options: LoraOptions = { rank: 2 },
): TrainerNetwork {
  const layers = { text_encoder: base.textLayers, unet: base.unetLayers };
  return { number, base, lora: new LoraNetwork(`network ${number}`, layers, options), settings };
}

/** A batch of one picture by rule. */
export function tinyBatch(seed: number): TrainBatch {
  const ids = Array.from(uniformByRule(`ids.${seed}`, 77), (value) => Math.floor((value + 1) * 50));
  const latents = uniformByRule(`latents.${seed}`, 8 * 8 * 4);
  return { height: 8, width: 8, tokenRows: 1, samples: [{ latents, ids, lossWeight: 1 }] };
}

/**
 * Whether a module has no gradient but what rounding leaves: the mid block has one place of 8 × 8 latents, and the softmax of one score is 1, whatever queries and keys are.
 */
export function isIdle({ name }: { readonly name: string }): boolean {
  return /mid_block\w*attn1_to_[qk]$/.test(name);
}

/** Up projections that are not 0, as they are from the second step on. */
export function uploadByRule(device: Device, { lora }: TrainerNetwork): void {
  device.upload(
    lora.weights,
    lora.flatten(({ down, up }) => ({
      down: weightByRule(down.name, down.shape),
      up: weightByRule(up.name, up.shape).map((value) => value / 10),
    })),
  );
}

/** What a training made. */
export interface Trained {
  readonly figures: StepFigures[];
  readonly state: TrainerState;
}

/** Trains networks by rule, or from a state, over steps of micro-batches. */
export async function trainTiny(
  { device, base }: { device: Device; base: BaseModel },
  networks: readonly TrainerNetwork[],
  steps: readonly (readonly TrainBatch[])[],
  options: Partial<TrainerOptions> = {},
  from?: TrainerState,
): Promise<Trained> {
  for (const network of networks) uploadByRule(device, network);
  const trainer = new Trainer(device, base.schedule, networks, { seed: 1, totalSteps: 8, ...options });
  const phase = { network1Trains: true, orthogonalityOn: networks.length > 1 }, figures: StepFigures[] = [];
  try {
    if (from) trainer.restore(from);
    for (const micro of steps) {
      figures.push(...await trainer.train(0, phase, micro.map((batch) => networks.map(() => batch))));
    }
    figures.push(...await trainer.readFigures());
    return { figures, state: await trainer.save() };
  } finally {
    trainer.dispose();
  }
}

/** The layer of a model of one layer: what that predicts is linear in each matrix, so that differences are exact. */
export const oneLayer: LayerInfo = {
  ...{ path: "mid_block.attentions.0.proj_in", kind: "linear", inSize: 4, outSize: 4, kernel: 0, stride: 0 },
  family: "Transformer2DModel",
};
/** The model of that layer. */
export const oneLayerBase: TrainableBase = {
  latentScale: 1,
  encode: (ids) => ids,
  denoise: (sample, _timesteps, _context, { adapters }) => adapters(oneLayer)?.(sample, sample) ?? sample,
};
