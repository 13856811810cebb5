import { equal, ok } from "node:assert/strict";
import { LoraNetwork } from "../../lora/network.ts";
import { BaseModel } from "../../models/base_model.ts";
import { optimizerNames } from "../../training/optimizers/optimizers.ts";
import { planStep } from "../../training/training_program.ts";

Deno.test("an update of 192 modules takes at most 32 dispatches with any optimizer, clipping included", async () => {
  const base = await BaseModel.open(new URL("../../assets/toy/base", import.meta.url).pathname);
  const layers = { text_encoder: base.textLayers, unet: base.unetLayers };
  for (const name of optimizerNames) {
    const lora = new LoraNetwork("network 1", layers, { rank: 16 });
    equal(lora.modules.length, 192);
    const optimizer = { name, ...name === "DAdaptAdaGrad" ? { arguments: { eps: 1e-6 } } : {} };
    const program = planStep(
      [{ number: 1, base, lora, settings: { learningRate: 1e-3, optimizer } }],
      { predictionType: "epsilon" },
      [{ batch: 1, height: 16, width: 16, tokenRows: 1 }],
      { network1Trains: true, orthogonalityOn: false },
      { count: 1, isLast: true },
      {},
    );
    const scopes = program.steps.map((step) => step.kind === "node" ? step.node.scope : step.scope);
    const count = scopes.filter((scope) => scope.startsWith("network_1.optimizer")).length;
    ok(count > 0 && count <= 32, `${name} takes ${count}`);
  }
});
