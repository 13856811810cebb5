import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { blockIndex, type BlockOptions, blockSettings } from "../../lora/blocks.ts";
import { LoraNetwork } from "../../lora/network.ts";
import { moduleName } from "../../lora/module_plan.ts";
import { BaseModel } from "../../models/base_model.ts";
import { makeUpdater } from "../../training/network_settings.ts";
import { parameterGroups } from "../../training/parameter_groups.ts";
import { goldenJson, goldenPath } from "../probe/golden_tensors.ts";

interface GoldenModule {
  readonly name: string;
  readonly kind: string;
  readonly kernel: number;
  readonly block_index: number;
  readonly only_with_conv_dim: boolean;
}
const modules = (await goldenJson("training/lora_modules")).modules as GoldenModule[];

Deno.test("blockIndex() is sd-scripts' for each of SD v1.5's 350 modules", () => {
  equal(modules.length, 350);
  for (const { name, block_index } of modules) equal(blockIndex(name), block_index, name);
});

/** A word of `--network_args` as a step's option. */
function optionsOf(words: Readonly<Record<string, string>>): BlockOptions {
  const list = (text?: string) =>
    text === undefined
      ? undefined
      : text.includes(",")
      ? text.split(",").map((each) => each === "" ? 0 : Number(each))
      : text;
  const options = {
    downWeights: list(words.down_lr_weight),
    midWeight: words.mid_lr_weight === undefined ? undefined : Number(words.mid_lr_weight),
    upWeights: list(words.up_lr_weight),
    zeroThreshold: words.block_lr_zero_threshold === undefined ? undefined : Number(words.block_lr_zero_threshold),
    ranks: list(words.block_dims),
    alphas: list(words.block_alphas),
    convRanks: list(words.conv_block_dims),
    convAlphas: list(words.conv_block_alphas),
  };
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as BlockOptions;
}

Deno.test("blockSettings() resolves weights, curves, thresholds, ranks and alphas as sd-scripts does", async () => {
  const { network_dim: rank, network_alpha: alpha, cases } = await goldenJson("training/block_weights");
  equal(cases.length, 12);
  for (const { network_args: words, resolved } of cases) {
    const convRank = words.conv_dim === undefined ? {} : { convRank: Number(words.conv_dim) };
    const found = blockSettings(optionsOf(words), {
      rank,
      alpha,
      ...convRank,
      convAlpha: Number(words.conv_alpha ?? 1),
    });
    const what = JSON.stringify(words);
    deepEqual(found.map((block) => block.rank), resolved.block_dims, what);
    deepEqual(found.map((block) => block.alpha), resolved.block_alphas, what);
    deepEqual(found.map((block) => block.convRank), resolved.conv_block_dims ?? Array(25).fill(0), what);
    if (resolved.conv_block_alphas) deepEqual(found.map((block) => block.convAlpha), resolved.conv_block_alphas, what);
    const ones = Array(12).fill(1), { down_lr_weight: down, mid_lr_weight: mid, up_lr_weight: up } = resolved;
    [...down ?? ones, mid ?? 1, ...up ?? ones].forEach((weight, i) =>
      ok(Math.abs(found[i].rateWeight - weight) <= 1e-12, `${what}: block ${i}`)
    );
  }
});

Deno.test("blockSettings() refuses lists that are too long, numbers out of range and curves that do not exist", () => {
  const make = (blocks: BlockOptions) => () => blockSettings(blocks, { rank: 4, alpha: 4, convAlpha: 1 });
  throws(make({ downWeights: Array(13).fill(1) }), {
    name: "RangeError",
    message:
      "Cannot make a network: blocks.downWeights has a list of 13, must be a list of up to 12 numbers, or a curve's name",
  });
  throws(make({ upWeights: "cosin" }), {
    message:
      'Cannot make a network: blocks.upWeights has "cosin", must be one of cosine, sine, linear, reverse_linear, zeros, or a list',
  });
  throws(
    make({ upWeights: "cosine+a" }),
    /blocks\.upWeights has "cosine\+a", must be a curve's name, or a name and an/,
  );
  throws(make({ ranks: [4] }), /blocks\.ranks has a list of 1, must be a list of 25 numbers/);
  throws(make({ midWeight: -1 }), /blocks\.midWeight has -1 in it, must be numbers from 0 on/);
});

const base = await BaseModel.open(goldenPath("training/tiny"));
const layers = { text_encoder: base.textLayers, unet: base.unetLayers };
const network = (blocks: BlockOptions, more: object = {}) =>
  new LoraNetwork("network 1", layers, { rank: 4, blocks, ...more });

Deno.test("a network has no modules in blocks at rate or rank 0, and its own ranks and alphas in the others", () => {
  const ranks = Array.from({ length: 25 }, (_, i) => i % 3), alphas = ranks.map((_, i) => i + 0.5);
  const { modules } = network({ ranks, alphas, downWeights: "linear" });
  const wanted = base.unetLayers.filter(({ family }) => family === "Transformer2DModel")
    .map((layer) => moduleName("unet", layer))
    // The first of the linear curve is 0.
    .filter((name) => ranks[blockIndex(name)] > 0 && blockIndex(name) !== 0);
  const unet = modules.filter(({ part }) => part === "unet");
  deepEqual(unet.map(({ name }) => name), wanted);
  for (const { name, rank, alpha } of unet) {
    deepEqual([rank, alpha], [ranks[blockIndex(name)], alphas[blockIndex(name)]]);
  }
  // Blocks are the UNet's.
  ok(modules.filter(({ part }) => part === "text_encoder").every(({ rank, alpha }) => rank === 4 && alpha === 4));
});

Deno.test("3×3 convolutions of single blocks have ranks of their own", () => {
  const convRanks = Array.from({ length: 25 }, (_, i) => i === 12 ? 3 : 0);
  const { modules } = network({ convRanks });
  const wide = modules.filter(({ layer }) => layer.kernel > 1);
  equal(wide.length, 4);
  ok(wide.every(({ name, rank, alpha }) => name.includes("mid_block") && rank === 3 && alpha === 1));
});

Deno.test("each block's learning rate is its part's times its weight", () => {
  const lora = network({ downWeights: [1, 1, 1, 1, 0.5], midWeight: 2, upWeights: "sine" });
  const rates = { learningRate: 1e-4, unetLearningRate: 1e-3, textEncoderLearningRate: 2e-4 };
  const groups = parameterGroups(lora, rates);
  lora.modules.forEach(({ name, part }, i) => {
    const block = blockIndex(name), side = block > 12 ? Math.sin(Math.PI * (block - 13) / 11 / 2) : 1;
    const weight = block === 4 ? 0.5 : block === 12 ? 2 : side, wanted = part === "unet" ? 1e-3 * weight : 2e-4;
    for (const tensor of [2 * i, 2 * i + 1]) {
      ok(Math.abs(groups.rates[groups.groupOf[tensor]] / wanted - 1) < 1e-12, name);
    }
  });
  throws(() => makeUpdater(lora, { learningRate: 1, optimizer: { name: "prodigy" } }), {
    name: "RangeError",
    message:
      /^Cannot train network 1 with Prodigy: it finds one learning rate for the whole network, its blocks have 1, /,
  });
});
