import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { input, plan, type Tensor } from "../../engine/mod.ts";
import { hooks } from "../../lora/orthogonality.ts";
import { LoraNetwork } from "../../lora/network.ts";
import { groupResponse } from "../../lora/responses.ts";
import type { LayerInfo } from "../../models/source.ts";
import { RandomStream } from "../../random/philox.ts";
import type { TrainableBase } from "../../training/denoising.ts";
import { batchFeeds, type TrainBatch } from "../../training/feeds.ts";
import { measureHooks, measureResponses } from "../../training/interference.ts";
import { openTiny, tinyBatch, tinyNetwork, uploadByRule } from "./tiny_training.ts";

const { device, base } = await openTiny(), noise = base.schedule, seed = 3, timesteps = [200, 400, 600, 800];

/** A model of one layer: the one that is the method's hook in the UNet. */
const layer: LayerInfo = {
  ...{ path: "mid_block.attentions.0.proj_out", kind: "linear", inSize: 4, outSize: 4, kernel: 0, stride: 0 },
  family: "Transformer2DModel",
};
const oneLayer: TrainableBase = {
  latentScale: 1,
  encode: (ids) => ids,
  denoise: (sample, _timesteps, _context, { adapters }) => adapters(layer)?.(sample, sample) ?? sample,
};
const small = [1, 2].map((k) => new LoraNetwork(`small ${k}`, { unet: [layer] }, { rank: 1, alpha: 1 }));

/** Fills a small network: ΔW = up · down. */
function fill(k: 0 | 1, down: readonly number[], up: readonly number[]) {
  device.upload(
    small[k].weights,
    small[k].flatten(() => ({ down: Float32Array.from(down), up: Float32Array.from(up) })),
  );
}

const own = [[tinyBatch(0), tinyBatch(1)], [tinyBatch(2)]] as const;
const request = { base: oneLayer, network1: small[0], network2: small[1], noise, own, seed };

/** The layer's inputs on a batch, `[64, 4]` for each timestep: the noisy latents, made on the host. */
function inputs({ samples: [{ latents }] }: TrainBatch, stream: number, place: number): number[][][] {
  return timesteps.map((t, at) => {
    const alpha = noise.alphasCumprod[t],
      drawn = new RandomStream({ seed, stream, step: place * 4 + at }).nextNormals(256);
    const noisy = Array.from(latents, (value, i) => Math.sqrt(alpha) * value + Math.sqrt(1 - alpha) * drawn[i]);
    return Array.from({ length: 64 }, (_, cell) => noisy.slice(4 * cell, 4 * cell + 4));
  });
}

const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, value, i) => sum + value * b[i], 0);

function softmax(values: readonly number[]): number[] {
  const total = values.reduce((sum, value) => sum + Math.exp(value), 0);
  return values.map((value) => Math.exp(value) / total);
}

function near(found: number | null, expected: number, tolerance = 1e-4) {
  ok(found !== null && Math.abs(found / expected - 1) < tolerance, `${found}, expected ${expected}`);
}

Deno.test("answers are ‖ΔW·X‖ over all pictures, timesteps and cells, with each network's own noise", async () => {
  const down = [[1, 2, 0, -1], [0, 1, 1, 0]], up = [[1, 0, 2, 0], [0, 3, 0, 1]];
  fill(0, down[0], up[0]);
  fill(1, down[1], up[1]);
  const x = [
    [...inputs(own[0][0], 151, 0), ...inputs(own[0][1], 151, 1)].flat(),
    inputs(own[1][0], 151, 2).flat(),
  ];
  // ‖u·dᵀX‖ = ‖u‖ · ‖dᵀX‖.
  const norm = (network: 0 | 1, data: 0 | 1) =>
    Math.hypot(...up[network]) * Math.hypot(...x[data].map((cell) => dot(cell, down[network])));
  const [found] = await measureResponses(device, request);
  equal(found.name, hooks.unet);
  near(found.own[0], norm(0, 0));
  near(found.own[1], norm(1, 1));
  near(found.foreign[0], norm(1, 0));
  near(found.foreign[1], norm(0, 1));
});

Deno.test("crosstalk on data of a network with its copy is 1, with its threefold 3 and a third, with one that does nothing 0", async () => {
  fill(0, [1, 2, 0, -1], [1, 0, 2, 0]);
  const crosstalk = async () => groupResponse("all", await measureResponses(device, request)).crosstalk;
  fill(1, [1, 2, 0, -1], [1, 0, 2, 0]);
  deepEqual(await crosstalk(), [1, 1]);
  fill(1, [1, 2, 0, -1], [3, 0, 6, 0]);
  const [there, back] = await crosstalk();
  near(there, 3, 1e-6);
  near(back, 1 / 3, 1e-6);
  fill(1, [1, 2, 0, -1], [0, 0, 0, 0]);
  deepEqual(await crosstalk(), [0, null]);
});

Deno.test("the networks only look on: a module's input is the base's own, whatever the modules before it do", async () => {
  const second: LayerInfo = { ...layer, path: "up_blocks.1.attentions.0.proj_in" };
  const twoLayers: TrainableBase = {
    ...oneLayer,
    denoise: (sample, _timesteps, _context, { adapters }) => {
      const middle = adapters(layer)?.(sample, sample) ?? sample;
      return adapters(second)?.(middle, middle) ?? middle;
    },
  };
  const [network1, network2] = [1, 2].map((k) => new LoraNetwork(`two ${k}`, { unet: [layer, second] }, { rank: 1 }));
  for (const lora of [network1, network2]) {
    const down = Float32Array.of(1, 2, 0, -1);
    // The first module is a hundred times as strong: it would drown the second one's input.
    device.upload(
      lora.weights,
      lora.flatten(({ name }) => ({ down, up: new Float32Array(4).fill(name === hooks.unet ? 100 : 1) })),
    );
  }
  const found = await measureResponses(device, { ...request, base: twoLayers, network1, network2 });
  const x = [...inputs(own[0][0], 151, 0), ...inputs(own[0][1], 151, 1)].flat();
  const norm = 2 * Math.hypot(...x.map((cell) => dot(cell, [1, 2, 0, -1])));
  deepEqual(found.map(({ name }) => name), [hooks.unet, "lora_unet_up_blocks_1_attentions_0_proj_in"]);
  near(found[0].own[0], 100 * norm);
  near(found[1].own[0], norm);
  near(found[1].foreign[0], norm);
});

Deno.test("the UNet's term and divergence are those of each network's hidden layer on its own data, in pairs", async () => {
  const down = [[1, 2, 0, -1], [0, 1, 1, 0]], up = [[1, 0.5, 2, 0], [0, 3, -1, 1]];
  fill(0, down[0], up[0]);
  fill(1, down[1], up[1]);
  let term = 0, divergence = 0;
  for (const place of [0, 1]) {
    const hidden = [inputs(own[0][place], 161, place), inputs(own[1][0], 162, place)].map((each, k) =>
      each.map((cells) => cells.map((cell) => up[k].map((value) => value * dot(cell, down[k]))))
    );
    for (const at of timesteps.keys()) {
      for (const channel of [0, 1, 2, 3]) {
        const [one, two] = hidden.map((each) =>
          Array.from({ length: 8 }, (_, row) => each[at].slice(8 * row, 8 * row + 8).map((cell) => cell[channel]))
        );
        for (const [i, row1] of one.entries()) {
          for (const [j, row2] of two.entries()) if (i !== j) term += dot(row1, row2) ** 2 / (2 * 4 * 4 * 64);
          const [p, q] = [row1, two[i]].map(softmax);
          divergence += q.reduce((sum, value, w) => sum + value * Math.log(value / p[w]), 0) / (2 * 4);
        }
      }
    }
  }
  const found = await measureHooks(device, request);
  near(found.unet, term);
  near(found.unetDivergence, divergence);
  // The model of one layer has no text encoder.
  deepEqual([found.textRest, found.textDiagonal, found.textDivergence], [null, null, null]);
});

Deno.test("of pictures of one cell at the hook the UNet's term and divergence are 0, whatever the networks do", async () => {
  fill(0, [1, 2, 0, -1], [1, 0.5, 2, 0]);
  fill(1, [1, 2, 0, -1], [1, 0.5, 2, 0]);
  const [{ samples: [sample], ...rest }] = own[0];
  const cell = { ...rest, height: 1, width: 1, samples: [{ ...sample, latents: sample.latents.slice(0, 4) }] };
  const { unet, unetDivergence } = await measureHooks(device, { ...request, own: [[cell], [cell]] });
  deepEqual([unet, unetDivergence], [0, 0]);
});

Deno.test("both text masks: all but the diagonal of h₁h₂ᵀ over tokens, and the diagonal alone; the divergence over channels", async () => {
  const networks = ([1, 2] as const).map((number) => tinyNetwork(base, number, { learningRate: 1 }));
  networks.forEach((network) => uploadByRule(device, network));
  const [{ lora: network1 }, { lora: network2 }] = networks, pair = [[tinyBatch(0)], [tinyBatch(2)]] as const;
  const hidden: number[][][] = [];
  for (const [k, { lora }] of networks.entries()) {
    const map = new Map<string, Tensor | null>([[hooks.textEncoder, null]]);
    base.encode(input("ids_1", [1, 77], "i32"), { adapters: lora.adapters("text_encoder", { hidden: map }), rows: 1 });
    const program = await device.compile(plan({ outputs: { h: map.get(hooks.textEncoder)! } }));
    const { ids_1: ids } = batchFeeds(pair[k][0], {
      ...{ number: 1, noise, loss: {}, seed, micro: 0, timesteps: [200], dropoutKeyCount: 0 },
    });
    program.run({ ids_1: ids });
    const { h } = await program.read("h"), size = h.length / 77;
    hidden.push(Array.from({ length: 77 }, (_, token) => Array.from(h.slice(token * size, (token + 1) * size))));
    device.release(program);
  }
  let rest = 0, diagonal = 0, divergence = 0;
  for (const [i, one] of hidden[0].entries()) {
    const [p, q] = [one, hidden[1][i]].map(softmax);
    divergence += q.reduce((sum, value, channel) => sum + value * Math.log(value / p[channel]), 0);
    for (const [j, two] of hidden[1].entries()) {
      const square = dot(one, two) ** 2 / 77 ** 2;
      if (i === j) diagonal += square;
      else rest += square;
    }
  }
  const found = await measureHooks(device, { ...request, base, network1, network2, own: pair });
  near(found.textRest, rest);
  near(found.textDiagonal, diagonal);
  near(found.textDivergence, divergence, 1e-3);
});

Deno.test("interference is not measured where there is nothing to measure it on", async () => {
  await rejects(
    measureResponses(device, { ...request, own: [own[0], []] }),
    /network 2 has no latents to be tried on$/,
  );
  await rejects(measureHooks(device, { ...request, own: [[], own[1]] }), /network 1 has no latents to be tried on$/);
});
