import { equal, ok } from "node:assert/strict";
import { LoraNetwork } from "../../lora/network.ts";
import { BaseModel } from "../../models/base_model.ts";
import type { TrainerNetwork } from "../../training/trainer.ts";
import { planStep } from "../../training/training_program.ts";

/** Dispatches of a dual step of the toy base, by where in the model they belong. No GPU is asked. */
async function scopesOfStep(network1Trains: boolean): Promise<string[]> {
  const base = await BaseModel.open(new URL("../../assets/toy/base", import.meta.url).pathname);
  const networks = ([1, 2] as const).map((number): TrainerNetwork => ({
    number,
    base,
    lora: new LoraNetwork(`network ${number}`, { text_encoder: base.textLayers, unet: base.unetLayers }, { rank: 4 }),
    settings: { learningRate: 1e-3 },
  }));
  const program = planStep(
    networks,
    { predictionType: "epsilon" },
    networks.map(() => ({ batch: 1, height: 16, width: 16, tokenRows: 1 })),
    { network1Trains, orthogonalityOn: true },
    { count: 1, isLast: true },
    {},
  );
  return program.steps.map((step) => step.kind === "node" ? step.node.scope : step.scope);
}

Deno.test("a frozen network 1 stops at the mid block's hook: nothing behind it is computed, and nothing backward", async () => {
  const count = (scopes: string[], part: string) => scopes.filter((scope) => scope.startsWith(part)).length;
  const both = await scopesOfStep(true), frozen = await scopesOfStep(false);
  ok(count(both, "network_1.unet.up_blocks") > 100);
  equal(count(frozen, "network_1.unet.up_blocks"), 0);
  equal(count(frozen, "network_1.unet.conv_out"), 0);
  equal(count(frozen, "network_1.optimizer"), 0);
  ok(count(frozen, "network_1.unet.mid_block") > 0);
  // Forward alone is less than half of forward and backward.
  ok(count(frozen, "network_1.unet.down_blocks") < count(both, "network_1.unet.down_blocks") / 2);
  equal(count(frozen, "network_2.unet.up_blocks"), count(both, "network_2.unet.up_blocks"));
});
