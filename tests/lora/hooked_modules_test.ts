import { deepEqual, ok, throws } from "node:assert/strict";
import { gradients, input, plan } from "../../engine/mod.ts";
import { uniformByRule } from "../../formats/weights_by_rule.ts";
import { checkHooks, moduleOrthogonality, selectHooks } from "../../lora/hooked_modules.ts";
import { LoraNetwork } from "../../lora/network.ts";
import type { LayerInfo } from "../../models/source.ts";
import { sharedDevice } from "../probe/golden_tensors.ts";

const layer = (path: string, family: string): LayerInfo => {
  return { path, kind: "linear", inSize: 4, outSize: 4, kernel: 0, stride: 0, family };
};
const attention = "down_blocks.1.attentions.0.proj_in", middle = "mid_block.attentions.0.proj_out";
const layers = {
  text_encoder: [layer("text_model.encoder.layers.0.mlp.fc1", "CLIPMLP")],
  unet: [layer(attention, "Transformer2DModel"), layer(middle, "Transformer2DModel")],
};
const [text, down, mid] = [
  "lora_te_text_model_encoder_layers_0_mlp_fc1",
  "lora_unet_down_blocks_1_attentions_0_proj_in",
  "lora_unet_mid_block_attentions_0_proj_out",
];
const one = new LoraNetwork("network 1", layers, { rank: 2 });
const two = new LoraNetwork("network 2", layers, { rank: 1 });

Deno.test("selectHooks() takes all modules that both networks have, each at weight 1", () => {
  deepEqual(selectHooks(one, two, { modules: "all" }), [text, down, mid].map((name) => ({ name, weight: 1 })));
  const unetOnly = new LoraNetwork("network 2", { unet: layers.unet }, { rank: 1 });
  deepEqual(selectHooks(one, unetOnly, { modules: "all" }).map(({ name }) => name), [down, mid]);
});

Deno.test("selectHooks() weighs modules as lora-block-weight orders blocks: BASE, IN00 to IN11, M00, OUT00 to OUT11", () => {
  const weights = new Array<number>(26).fill(0);
  // BASE is the text encoder, IN04 the first attention of the second down block.
  [weights[0], weights[5], weights[13]] = [0.5, 2, 0];
  deepEqual(selectHooks(one, two, { modules: "all", blockWeights: weights }), [
    { name: text, weight: 0.5 },
    { name: down, weight: 2 },
  ]);
  deepEqual(selectHooks(one, two, { modules: [mid], blockWeights: weights.with(13, 3) }), [{ name: mid, weight: 3 }]);
});

Deno.test("selectHooks() refuses names that a network lacks, and sets of which nothing is left", () => {
  throws(
    () => selectHooks(one, two, { modules: ["lora_unet_x"] }),
    /^RangeError: Cannot hook lora_unet_x: network 1 has no such module$/,
  );
  throws(
    () => selectHooks(one, two, { modules: [mid], blockWeights: new Array(26).fill(0) }),
    /none of 1 has a block weight above 0/,
  );
  throws(() => checkHooks({ modules: [] }), /modules is \[\], must be "all" or a list of names/);
  throws(() => checkHooks({ modules: "all", blockWeights: [1, 2] }), /blockWeights has 2 numbers \(1, 2\), must be 26/);
  throws(() => checkHooks({ modules: "all", blockWeights: new Array(26).fill(-1) }), /must be 26 from 0 on/);
});

Deno.test("moduleOrthogonality() is the mean of (h1·h2ᵀ ⊙ (1 − I))² over tokens, or over rows of each channel, with its gradient", async () => {
  const device = await sharedDevice();
  for (const shape of [[2, 3, 5], [2, 3, 3, 4]]) {
    const size = shape.reduce((a, b) => a * b), h1 = uniformByRule("h1", size), h2 = uniformByRule("h2", size);
    const [a, b] = [input("h1", shape), input("h2", shape)], term = moduleOrthogonality(a, b, "1-I");
    const [gradient] = gradients(term, [b]);
    const program = await device.compile(plan({ outputs: { term, gradient: gradient! } }));
    program.run({ h1, h2 });
    const found = await program.read("term", "gradient");
    device.release(program);
    const expected = byHand(shape, h1, h2);
    ok(Math.abs(found.term[0] / expected - 1) < 1e-5, `${shape}: ${found.term[0]}, by hand ${expected}`);
    for (const at of [0, 7, size - 1]) {
      const moved = (by: number) =>
        byHand(shape, h1, Float64Array.from(h2, (value, i) => i === at ? value + by : value));
      const slope = (moved(1e-4) - moved(-1e-4)) / 2e-4;
      ok(
        Math.abs(found.gradient[at] - slope) < 1e-5,
        `${shape}, ${at}: ${found.gradient[at]}, by differences ${slope}`,
      );
    }
  }
});

/** The formula, entry by entry. */
function byHand(shape: readonly number[], h1: ArrayLike<number>, h2: ArrayLike<number>): number {
  const squares: number[] = [];
  if (shape.length === 3) {
    const [batch, tokens, channels] = shape;
    for (let n = 0; n < batch; n++) {
      for (let i = 0; i < tokens; i++) {
        for (let j = 0; j < tokens; j++) {
          let dot = 0;
          for (let c = 0; c < channels; c++) {
            dot += h1[(n * tokens + i) * channels + c] * h2[(n * tokens + j) * channels + c];
          }
          squares.push(i === j ? 0 : dot * dot);
        }
      }
    }
  } else {
    const [batch, height, width, channels] = shape;
    for (let n = 0; n < batch; n++) {
      for (let c = 0; c < channels; c++) {
        for (let i = 0; i < height; i++) {
          for (let j = 0; j < height; j++) {
            let dot = 0;
            for (let x = 0; x < width; x++) {
              dot += h1[((n * height + i) * width + x) * channels + c] *
                h2[((n * height + j) * width + x) * channels + c];
            }
            squares.push(i === j ? 0 : dot * dot);
          }
        }
      }
    }
  }
  return squares.reduce((a, b) => a + b) / squares.length;
}
