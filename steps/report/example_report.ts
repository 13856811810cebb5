import type { Report } from "./report.ts";

/** A whole report with figures of the size that the method gives; the curves are made by formula. */
export const exampleReport: Report = {
  version: 1,
  dualora: "0.1.0",
  created: "2026-05-07T14:03:21.000Z",
  command: "deno task demo",
  seed: 1,
  settings: {
    steps: { network1: 500, network2: 400 },
    rank: 16,
    alpha: 16,
    learningRate: 0.002,
    batch: 8,
    orthogonality: { textEncoder: 1, unet: 1 },
    prompts: ["white background", "pink background"],
  },
  adapter: {
    name: "llvmpipe (LLVM 19.1.7, 256 bits)",
    vendor: "mesa",
    architecture: "",
    cpu: true,
    subgroupSize: 8,
    f16: true,
  },
  versions: { deno: "2.9.6", mesa: "25.0.7" },
  stages: [
    { name: "cache latents", seconds: 6.2 },
    { name: "load prior images", seconds: 0.4 },
    { name: "pretrain network 1", seconds: 143.8 },
    { name: "train network 2", seconds: 131.2 },
    { name: "train network 2 without orthogonality", seconds: 128.9 },
    { name: "sample", seconds: 88.3 },
  ],
  training: [
    { name: "network 1", network: 1, orthogonality: false, steps: curve(500, (t) => ({ loss_1: loss(t) })) },
    {
      name: "network 2 with orthogonality",
      network: 2,
      orthogonality: true,
      steps: curve(400, (t) => ({
        orth_te: wobble(t, 3) * (1e-7 + 7e-6 * Math.exp(-t / 30)),
        orth_unet: wobble(t, 4) * (5e-9 + 0.9 * Math.exp(-t / 8)),
        loss_2: loss(t) + 0.9 * Math.exp(-t / 8),
      })),
    },
    {
      name: "network 2 without orthogonality",
      network: 2,
      orthogonality: false,
      steps: curve(
        400,
        (t) => ({ orth_te: wobble(t, 5) * 6.9e-6, orth_unet: 0.92 + 0.02 * Math.sin(t), loss_2: loss(t) }),
      ),
    },
  ],
  columns: [
    { name: "base", kind: "base", identityKept: 0, outfitTaken: 0, pictures: 24 },
    { name: "character alone", kind: "character", identityKept: 0.542, outfitTaken: -0.021, pictures: 24 },
    { name: "outfit alone", kind: "outfit", identityKept: 0.031, outfitTaken: 0.678, pictures: 24 },
    {
      name: "stack without orthogonality",
      kind: "stack-without-orthogonality",
      identityKept: 0.539,
      outfitTaken: 0.505,
      pictures: 24,
    },
    { name: "stack with orthogonality", kind: "stack", identityKept: 0.516, outfitTaken: 0.49, pictures: 24 },
  ],
  notes: ["The outfit alone is network 2 with orthogonality."],
  files: [
    { name: "network1.safetensors", bytes: 3456789, sha256: "3b1f".repeat(16) },
    { name: "network2.safetensors", bytes: 3456789, sha256: "90ac".repeat(16) },
    { name: "network2_without_orthogonality.safetensors", bytes: 3456789, sha256: "77de".repeat(16) },
    { name: "samples.png", bytes: 234083, sha256: "0f42".repeat(16) },
  ],
  samples: "samples.png",
};

function curve(count: number, values: (t: number) => Record<string, number>) {
  return Array.from({ length: count }, (_, step) => ({
    step,
    epoch: Math.floor(step / 30),
    values: { ...values(step), learning_rate: 0.002 },
  }));
}

/** Noise that is the same every time, between 0.4 and 1.6. */
function wobble(t: number, salt: number): number {
  const hash = Math.sin(t * 12.9898 + salt * 78.233) * 43758.5453;
  return 0.4 + 1.2 * (hash - Math.floor(hash));
}

function loss(t: number): number {
  return wobble(t, 1) * (0.035 + 0.06 * Math.exp(-t / 60));
}
