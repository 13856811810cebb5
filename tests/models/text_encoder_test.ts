import { equal } from "node:assert/strict";
import { Device, gradients, mean, multiply, type Tensor } from "../../engine/mod.ts";
import { readTextEncoderConfig } from "../../models/clip/config.ts";
import { CLIPTextModel } from "../../models/clip/text_encoder.ts";
import { fillWeightsByRule } from "../../models/load.ts";
import { type Observer, Source } from "../../models/source.ts";
import { Weights } from "../../models/weights.ts";
import { checkAgainst, evaluate, Golden, goldenConfig, gradientTargets } from "./golden.ts";

const tokenTable = "grad.text_model.embeddings.token_embedding.weight";

async function tinyEncoder(weights: Weights, observer: Observer | null = null): Promise<CLIPTextModel> {
  const source = new Source(weights, () => null, [], observer);
  return new CLIPTextModel(source, readTextEncoderConfig(await goldenConfig("text_encoder_tiny")));
}

Deno.test("CLIPTextModel computes transformers' hidden states, last state and clip skip", async () => {
  using device = await Device.open();
  await using golden = await Golden.open("text_encoder_tiny");
  const weights = new Weights("text_encoder"), model = await tinyEncoder(weights);
  await fillWeightsByRule(device, weights);
  const ids = golden.input("ids", "i32");
  const states = model.hiddenStates(ids).map((state, n) => [`hidden_states.${n}`, state] as const);
  const found = await evaluate(device, {
    ...Object.fromEntries(states),
    last_hidden_state: model.forward(ids),
    clip_skip_2: model.forward(ids, { clipSkip: 2 }),
  }, golden);
  equal(states.length, 13);
  const { name, error } = await checkAgainst(golden, found, 1e-4);
  console.log(`text encoder: largest relative error ${error.toExponential(1)} at ${name}`);
});

Deno.test("CLIPTextModel has transformers' gradients", async () => {
  using device = await Device.open();
  await using golden = await Golden.open("text_encoder_tiny");
  const weights = new Weights("text_encoder"), blocks = new Map<string, Tensor>();
  const model = await tinyEncoder(weights, { see: (path, output) => blocks.set(path, output) });
  await fillWeightsByRule(device, weights);
  const loss = mean(multiply(model.forward(golden.input("ids", "i32")), golden.input("cotangent")));
  // Tables of tokens are frozen and have no gradient; here it is summed from that of the embedded tokens.
  const { [tokenTable]: _, ...targets } = gradientTargets(golden, weights);
  const names = Object.keys(targets);
  equal(names.length, 13);
  const [embedded, ...found] = gradients(loss, [blocks.get("text_model.embeddings")!, ...Object.values(targets)]);
  const outputs = Object.fromEntries(names.map((name, i) => [name, found[i]!]));
  const { embedded: tokens, ...results } = await evaluate(device, { ...outputs, loss, embedded: embedded! }, golden);
  const { size, vocabularySize } = model.config, table = new Float32Array(vocabularySize * size);
  for (const [token, id] of (await golden.values("ids")).entries()) {
    for (let c = 0; c < size; c++) table[id * size + c] += tokens[token * size + c];
  }
  const { name, error } = await checkAgainst(golden, { ...results, [tokenTable]: table }, 1e-3);
  console.log(`text encoder: largest relative error of a gradient ${error.toExponential(1)} at ${name}`);
});
