import type { ProbeRequest } from "./context.ts";
import { dualRunOptions, dualStepOptions, probeDualRun, probeDualStep } from "./dual.ts";
import { loraForwardOptions, probeLoraForward } from "./lora_forward.ts";
import { optimizerGolden, optimizerOptions, probeOptimizer } from "./optimizer.ts";
import { probeSampler, samplerGolden, samplerOptions } from "./sampler.ts";
import type { TensorSet } from "./tensors.ts";
import { probeTextEncoder, textEncoderOptions } from "./text_encoder.ts";
import { probeUnet, unetOptions } from "./unet.ts";
import { probeVae, vaeOptions } from "./vae.ts";

/** A part of the port that can be probed with tensors. */
export interface Part {
  /** Names of the options that it has a use for. */
  readonly options: readonly string[];
  /** A golden's own JSON as options, where `settings` are not all that is in it. */
  readonly golden?: (json: unknown) => unknown;
  /** Reads a Diffusers folder. */
  readonly needsModel?: boolean;
  /** Computes on the device, or else with `runOnHost`. */
  readonly run?: (request: ProbeRequest) => Promise<TensorSet>;
  readonly runOnHost?: (request: Pick<ProbeRequest, "input" | "options">) => TensorSet;
}

/** The parts by their names on the command line; `tokenize`, which reads and writes JSON, stands beside them. */
export const parts: Readonly<Record<string, Part>> = {
  "text-encoder": { options: textEncoderOptions, needsModel: true, run: probeTextEncoder },
  "unet": { options: unetOptions, needsModel: true, run: probeUnet },
  "vae": { options: vaeOptions, needsModel: true, run: probeVae },
  "lora-forward": { options: loraForwardOptions, needsModel: true, run: probeLoraForward },
  "dual-step": { options: dualStepOptions, needsModel: true, run: probeDualStep },
  "dual-run": { options: dualRunOptions, needsModel: true, run: probeDualRun },
  "optimizer": { options: optimizerOptions, golden: optimizerGolden, run: probeOptimizer },
  "sampler": { options: samplerOptions, golden: samplerGolden, runOnHost: probeSampler },
};
