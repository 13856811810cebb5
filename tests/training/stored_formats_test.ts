import { deepEqual, equal, ok } from "node:assert/strict";
import { isHalf, type Node, observing, type Tensor } from "../../engine/mod.ts";
import { LoraNetwork } from "../../lora/network.ts";
import { BaseModel } from "../../models/base_model.ts";
import { makeUpdater } from "../../training/network_settings.ts";
import { haltFlag, type StepNetwork, traceStep } from "../../training/step_graph.ts";

/** A dual step of the tiny models with activations in 16 bits: its graph, and every tensor that an op of it makes. */
async function tracedStep(gradientCheckpointing: boolean) {
  const base = await BaseModel.open(new URL("../golden/training/tiny", import.meta.url).pathname);
  const networks = ([1, 2] as const).map((number): StepNetwork => {
    const layers = { text_encoder: base.textLayers, unet: base.unetLayers };
    const lora = new LoraNetwork(`network ${number}`, layers, { rank: 4 });
    const shape = { batch: 1, height: 16, width: 16, tokenRows: 1 };
    return { number, base, lora, ...makeUpdater(lora, { learningRate: 1e-3 }), shape, trains: true };
  });
  const made: { node: Node; output: Tensor }[] = [];
  const see = (outputs: readonly Tensor[]) => {
    for (const output of outputs) made.push({ node: (output.source as { node: Node }).node, output });
  };
  const graph = observing(see, () =>
    traceStep(networks, {
      form: "clean",
      orthogonality: { on: true, textCoefficient: 1, unetCoefficient: 1, divergenceCoefficient: 0, textMask: "1-I" },
      vParameterization: false,
      accumulation: { count: 1, isLast: true },
      noise: "drawn",
      allFigures: true,
      gradientCheckpointing,
      activations: "f16",
      halted: haltFlag(),
    }));
  return { graph, made };
}

Deno.test("of a step in f16 activations are f16; hidden layers, prediction, losses, gradients and optimizers are f32", async () => {
  for (const checkpointing of [false, true]) {
    const { graph, made } = await tracedStep(checkpointing);
    const halves = made.filter(({ output }) => isHalf(output.dtype));
    // What models compute going forward, and nothing that gradients and optimizers add.
    const ops = ["add", "attention", "concat", "conv2d", "embedding", "geglu", "group_norm", "layer_norm", "matmul"];
    deepEqual([...new Set(halves.map(({ node }) => node.op.name))].toSorted(), [
      ...ops,
      "quick_gelu",
      "silu",
      "upsample_nearest",
    ]);
    for (const { node } of halves) ok(/^network_[12]\.(text_encoder|unet)(\.|$)/.test(node.scope), node.scope);
    const firstLoss = made.findIndex(({ node }) => node.scope === "orthogonality");
    ok(made.findLastIndex(({ output }) => isHalf(output.dtype)) < firstLoss);
    ok(halves.length > 500);

    equal(Object.keys(graph.hidden).length, 4);
    for (const tensor of Object.values(graph.hidden)) equal(tensor.dtype, "f32");
    const predictions = made.filter(({ node }) => node.scope.endsWith("unet.conv_out") && node.op.name === "conv2d");
    deepEqual(predictions.map(({ output }) => output.dtype), ["f32", "f32"]);
    for (const tensor of [...Object.values(graph.figures), ...Object.values(graph.gradients)]) {
      equal(tensor.dtype, "f32");
    }
  }
});
