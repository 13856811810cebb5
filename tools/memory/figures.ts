import { pooledBytes, variableBytes } from "../../engine/mod.ts";
import type { BaseModel } from "../../models/base_model.ts";
import { planEncoding } from "../../models/vae/encoding.ts";
import { buildVae } from "../../models/vae_model.ts";
import { planPictures } from "../../steps/values/picture_memory.ts";
import { planPhase } from "../../training/training_program.ts";
import { dualNetworks, openStableDiffusion } from "./stable_diffusion.ts";

/** How the base models' weights, and activations in training, are stored. */
export type Precision = "f32" | "f16";

/** A dual training of SD v1.5. */
export interface DualTraining {
  /** One base for both networks, or one each. */
  readonly bases: 1 | 2;
  /** Of frozen weights. */
  readonly precision: Precision;
  /** Those of layers in 8 bits. */
  readonly frozenWeights?: "int8";
  readonly activations: Precision;
  readonly network1Trains: boolean;
  readonly gradientCheckpointing: boolean;
  /** Side of the pictures. */
  readonly pixels: number;
  readonly batch: number;
  readonly rank: number;
}

/** Bytes on the device, by what they are for. */
export interface TrainingBytes {
  readonly all: number;
  /** Frozen weights, of all bases that are loaded. */
  readonly bases: number;
  /** Networks' weights, and what their optimizers keep. */
  readonly networks: number;
  /** Activations, gradients and everything else that a step makes and drops. */
  readonly slots: number;
}

/** What a dual training takes, from its plan. */
export async function trainingBytes(training: DualTraining): Promise<TrainingBytes> {
  const { precision, activations, network1Trains, gradientCheckpointing, pixels, batch, rank } = training;
  const stored = { precision, ...training.frozenWeights ? { frozenWeights: training.frozenWeights } : {} };
  const base = await openStableDiffusion(stored);
  const base2 = training.bases === 1 ? base : await openStableDiffusion(stored);
  const resident = [...new Set([base, base2])].flatMap(({ variables }) => variables);
  const cells = pixels / 8, shape = { batch, height: cells, width: cells, tokenRows: 1 };
  const { peakBytes, programs: [{ variables }] } = planPhase(
    dualNetworks(base, rank, base2),
    base.schedule,
    [{ shapes: [shape, shape], accumulation: { count: 1, isLast: true } }],
    { network1Trains, orthogonalityOn: true },
    { gradientCheckpointing, activations },
    resident,
  );
  const bases = variableBytes(resident), networks = variableBytes([...variables, ...resident]) - bases;
  return { all: peakBytes, bases, networks, slots: peakBytes - bases - networks };
}

/** What encoding pictures one by one takes, a base being loaded. */
export async function encodingBytes(
  { precision, pixels }: Pick<DualTraining, "precision" | "pixels">,
): Promise<number> {
  const base = await openStableDiffusion({ precision }), { model, weights } = buildVae(base.checkpoint);
  const { program } = planEncoding(model, { width: pixels, height: pixels });
  return pooledBytes([program], [...base.variables, ...weights.all.map(({ variable }) => variable)]);
}

/** What sampling one picture with two networks takes. */
export async function samplingBytes(
  { precision, pixels, rank }: Pick<DualTraining, "precision" | "pixels" | "rank">,
): Promise<number> {
  const base: BaseModel = await openStableDiffusion({ precision }), network = { options: { rank } };
  const bases = { network1: base, network2: base }, stack = [{ network }, { network }];
  return planPictures(bases, { width: pixels, height: pixels }, [{ stack, layout: { tokenRows: 1 } }], 1).peakBytes;
}
