import { type DualStep, dualStepKey, dualSteps } from "../dual_step.ts";
import { type Sampling, samplingKey, samplings } from "../sampling.ts";

/** What is measured on a GPU, and what its figures are judged by. */
export interface Sizes {
  /** Shapes in `ops.json`, by what the figures are of. */
  readonly matmul: readonly string[];
  readonly conv3x3: readonly string[];
  readonly attention: readonly string[];
  /** Kernels that do little but move bytes; large enough that no cache holds them. */
  readonly silu: readonly string[];
  readonly group_norm_silu: readonly string[];
  readonly layer_norm: readonly string[];
  readonly dualSteps: Readonly<Record<DualStep["mode"], DualStep>>;
  readonly sampling: Sampling;
  /** Flags of PyTorch's programs. */
  readonly pyTorch: { readonly config: string; readonly device: "cuda" | "cpu"; readonly precision: "fp16" | "fp32" };
}

function step(start: string): Sizes["dualSteps"] {
  const found = (mode: DualStep["mode"]) => dualSteps.find((each) => dualStepKey(each).shape === `${start} ${mode}`)!;
  return { both: found("both"), frozen: found("frozen") };
}

/** The sizes of SD v1.5 at 512×512 pixels. */
const fullSizes: Sizes = {
  matmul: ["2048x2048x2048"],
  conv3x3: ["4x64x64x320->320", "1x64x64x320->320", "1x32x32x640->640", "1x16x16x1280->1280", "1x8x8x1280->1280"],
  attention: ["4x4096x8x40", "1x4096x8x40", "1x1024x8x80", "1x256x8x160"],
  silu: ["65536x320"],
  group_norm_silu: ["16x64x64x320"],
  layer_norm: ["65536x320"],
  dualSteps: step("sd15 512px batch1 rank64"),
  sampling: samplings.find(({ base, inF16 }) => base === "sd15" && !inF16)!,
  pyTorch: { config: "sd15", device: "cuda", precision: "fp16" },
};

/** Small ones, with which all of it can be tried on any machine. */
const trialSizes: Sizes = {
  matmul: ["512x512x512"],
  conv3x3: ["1x32x32x64->64"],
  attention: ["1x1024x8x40"],
  silu: ["65536x320"],
  group_norm_silu: ["1x16x16x1280"],
  layer_norm: ["1024x640"],
  dualSteps: step("toy 128px batch1 rank16"),
  sampling: samplings.find(({ base }) => base === "toy")!,
  pyTorch: { config: "toy", device: "cpu", precision: "fp32" },
};

/** Full sizes, or those of a trial. */
export function sizesOf(trial: boolean): Sizes {
  return trial ? trialSizes : fullSizes;
}

/** The ops of {@linkcode Sizes}, in the order of their worth. */
export const judgedOps = ["matmul", "conv3x3", "attention", "silu", "group_norm_silu", "layer_norm"] as const;

/** Shapes of the dual steps and of the picture, as the lines have them. */
export function stepShapes({ dualSteps, sampling }: Sizes): { both: string; frozen: string; picture: string } {
  return {
    both: dualStepKey(dualSteps.both).shape,
    frozen: dualStepKey(dualSteps.frozen).shape,
    picture: samplingKey(sampling).shape,
  };
}
