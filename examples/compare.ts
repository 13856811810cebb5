/** Which way of training two LoRAs leaves most of both in a stack? Variants × seeds, one table; `--help` says how to compare on pictures of your own. */
import * as d from "../mod.ts";

const quick = Deno.args.includes("--quick"), off = { textEncoder: 0, unet: 0 };
const both = (coefficient: number) => ({ textEncoder: coefficient, unet: coefficient });
const hooks = (options: NonNullable<d.Variant["orthogonality"]>["hooks"]) => ({ ...off, hooks: options });
const allHooks = (coefficient: number) => hooks({ modules: "all", coefficient });
// Weights in the order BASE (the text encoder), IN00 to IN11, M00, OUT00 to OUT11.
const textBlocks = Array.from({ length: 26 }, (_, i) => i === 0 ? 1 : 0);
const upBlocks = Array.from({ length: 26 }, (_, i) => i >= 14 ? 1 : 0);
// Where the first cross-attention of each block puts the prompt's words into the picture.
const crossAttentionValues = [
  "down_blocks_0",
  "down_blocks_1",
  "down_blocks_2",
  "mid_block",
  "up_blocks_1",
  "up_blocks_2",
  "up_blocks_3",
]
  .map((block) => `lora_unet_${block}_attentions_0_transformer_blocks_0_attn2_to_v`);
// An epoch is 50 steps: network 1 thaws, and the loss comes on, in the middle of network 2's training.
const semi = { mode: "semi", annealEpoch: 1 } as const;

const variants: d.Variant[] = [
  { name: "sequential" },
  { name: "two hooks 1", orthogonality: both(1) },
  { name: "two hooks 10", orthogonality: both(10) },
  { name: "two hooks 100", orthogonality: both(100) },
  { name: "two hooks 1 mask I", orthogonality: { ...both(1), textMask: "I" } },
  { name: "two hooks 1 original", orthogonality: { ...both(1), form: "original" } },
  { name: "two hooks 1 mask I original", orthogonality: { ...both(1), textMask: "I", form: "original" } },
  { name: "all hooks 1", orthogonality: allHooks(1) },
  { name: "all hooks 10", orthogonality: allHooks(10) },
  { name: "all hooks 100", orthogonality: allHooks(100) },
  { name: "text encoder hooks 1", orthogonality: hooks({ modules: "all", blockWeights: textBlocks }) },
  { name: "up block hooks 1", orthogonality: hooks({ modules: "all", blockWeights: upBlocks }) },
  { name: "cross-attention value hooks 1", orthogonality: hooks({ modules: crossAttentionValues }) },
  { name: "down penalty 1", orthogonality: { ...off, down: 1 } },
  { name: "down penalty 10", orthogonality: { ...off, down: 10 } },
  { name: "up penalty 1", orthogonality: { ...off, up: 1 } },
  { name: "up penalty 10", orthogonality: { ...off, up: 10 } },
  { name: "Orthogonal Adaptation", orthonormal: true },
  { name: "null-space rows", training: "projected", side: "rows" },
  { name: "null-space columns", training: "projected", side: "columns" },
  { name: "stack-aware", stack: { own: 1, other: 1 } },
  { name: "stack-aware 0.1", stack: { own: 0.1, other: 0.1 } },
  { name: "stack-aware own 1", stack: { own: 1, other: 0 } },
  { name: "stack-aware and two hooks 1", stack: { own: 1, other: 1 }, orthogonality: both(1) },
  { name: "semi-frozen", freezing: semi },
  { name: "semi-frozen two hooks 1", freezing: semi, orthogonality: both(1) },
  { name: "joint", training: "both" },
  { name: "joint two hooks 1", training: "both", orthogonality: both(1) },
];

const shared = { schedule: "cosine", minSnrGamma: 0.3 } as const;
const rows = ["white", "pink", "sky blue", "beige", "white", "pink"].map((text, i) => ({ text, seed: i + 1 }));

await d.runComparison({
  ...{ folder: quick ? "out/compare-quick" : "out/compare", variants, seeds: quick ? [1] : [1, 2, 3, 4, 5] },
  ...{ bases: { network1: "toy" }, resolution: quick ? 64 : 128, batchSize: quick ? 1 : 4 },
  network1: { train: d.toy.character, reg: d.toy.priors },
  network2: { train: d.toy.outfit },
  ...{ priorLossWeight: 0.5, heldOut: 1 / 6, regions: d.toy.regions },
  training: { rank: 16, alpha: 16, steps: quick ? 2 : 100, learningRate: 6e-3, ...shared },
  pretraining: { steps: quick ? 2 : 150, learningRate: 7e-3, ...shared },
  pictures: {
    ...{ width: 128, height: 128, sampler: "ddim", steps: quick ? 2 : 20, guidance: 3 },
    rows: quick ? rows.slice(0, 1) : rows,
  },
  prompts: {
    network1: "pixel art portrait of sks person, red clothes, {row} background",
    network2: "pixel art portrait of a person, zkz clothes, {row} background",
    stack: "pixel art portrait of sks person, zkz clothes, {row} background",
  },
}, { flags: { "--quick": "only show that everything runs" } });
