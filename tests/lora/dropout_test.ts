import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { gradients, input, plan, sum, type Tensor } from "../../engine/mod.ts";
import { uniformByRule } from "../../formats/weights_by_rule.ts";
import { dropoutKeys } from "../../lora/dropout.ts";
import { LoraNetwork, type LoraOptions } from "../../lora/network.ts";
import type { LayerInfo } from "../../models/source.ts";
import { RandomStream } from "../../random/philox.ts";
import { sharedDevice } from "../probe/golden_tensors.ts";

const rank = 4, size = 6, batch = 3, tokens = 5;
const layer = (path: string): LayerInfo => ({
  path,
  kind: "linear",
  inSize: size,
  outSize: size,
  kernel: 0,
  stride: 0,
  family: "Transformer2DModel",
});
const layers = [layer("a"), layer("b")];

/** What the second of two modules adds, and its gradient by the up projection, with keys of one micro-batch. */
async function deltaOf(options: Omit<LoraOptions, "rank" | "alpha">, step: number) {
  const device = await sharedDevice();
  const lora = new LoraNetwork("network 1", { unet: layers }, { rank, alpha: 2, ...options });
  device.upload(
    lora.weights,
    lora.flatten(({ down, up }) => ({
      down: uniformByRule("down", down.sizeElements),
      up: uniformByRule("up", up.sizeElements),
    })),
  );
  const keys = input("keys", [lora.dropoutKeyCount * 64], "u32"), hidden = new Map<string, Tensor | null>();
  hidden.set("lora_unet_b", null);
  const x = input("x", [batch, tokens, size]), y = input("y", [batch, tokens, size]);
  lora.adapters("unet", { hidden, dropoutKeys: keys })(layers[1])!(x, y);
  const delta = hidden.get("lora_unet_b")!, [byUp] = gradients(sum(delta), [lora.modules[1].up.tensor]);
  const program = await device.compile(plan({ outputs: { delta, byUp: byUp! } }));
  program.run({
    keys: dropoutKeys(lora.dropoutKeyCount, { seed: 5, firstStream: 100, step }),
    x: uniformByRule("x", batch * tokens * size),
  });
  const found = await program.read("delta", "byUp");
  device.release(program);
  device.free([lora.weights]);
  return found as { delta: Float32Array; byUp: Float32Array };
}

/** The same by plain arithmetic, with what is kept of the inner activations. */
function expected(keep: (b: number, t: number, r: number) => number): number[] {
  const x = uniformByRule("x", batch * tokens * size), down = uniformByRule("down", rank * size);
  const up = uniformByRule("up", size * rank), delta: number[] = [];
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < tokens; t++) {
      const middle = Array.from({ length: rank }, (_, r) => {
        let sum = 0;
        for (let c = 0; c < size; c++) sum += x[(b * tokens + t) * size + c] * down[r * size + c];
        return sum * keep(b, t, r);
      });
      for (let o = 0; o < size; o++) {
        delta.push(middle.reduce((sum, value, r) => sum + value * up[o * rank + r], 0) * 2 / rank);
      }
    }
  }
  return delta;
}

/** The numbers that a key's stream gives. */
function drawn(stream: number, step: number, count: number): number[] {
  const random = new RandomStream({ seed: 5, stream, step });
  return Array.from({ length: count }, () => random.nextFloat());
}

function close(found: Float32Array, wanted: readonly number[]) {
  equal(found.length, wanted.length);
  found.forEach((value, i) => ok(Math.abs(value - wanted[i]) < 1e-5, `element ${i}: ${value}, wanted ${wanted[i]}`));
}

Deno.test("dropout leaves single inner activations out and divides the others by what is left", async () => {
  // The second module's key is the second.
  const random = drawn(101, 7, batch * tokens * rank);
  const kept = random.map((value) => value > 0.3 ? 1 / 0.7 : 0);
  ok(kept.includes(0));
  close((await deltaOf({ dropout: 0.3 }, 7)).delta, expected((b, t, r) => kept[(b * tokens + t) * rank + r]));
});

Deno.test("rank dropout leaves ranks of a sample out, and scales as if the rank were smaller", async () => {
  const random = drawn(101, 7, batch * rank), kept = random.map((value) => value > 0.4 ? 1 / 0.6 : 0);
  ok(kept.includes(0));
  close((await deltaOf({ rankDropout: 0.4 }, 7)).delta, expected((b, _, r) => kept[b * rank + r]));
});

Deno.test("module dropout leaves a module out of some steps, and its gradient with it", async () => {
  for (let step = 0; step < 4; step++) {
    const [random] = drawn(101, step, 1), { delta, byUp } = await deltaOf({ moduleDropout: 0.5 }, step);
    close(delta, expected(() => random > 0.5 ? 1 : 0));
    equal(byUp.some((value) => value !== 0), random > 0.5, `step ${step} drew ${random}`);
  }
  deepEqual(new Set([0, 1, 2, 3].map((step) => drawn(101, step, 1)[0] > 0.5)), new Set([true, false]));
});

Deno.test("the three dropouts draw numbers of their own", async () => {
  const [single, ranks, module] = [103, 104, 105].map((stream) => drawn(stream, 1, 100));
  ok(module[0] > 0.1);
  const keep = (b: number, t: number, r: number) =>
    (single[(b * tokens + t) * rank + r] > 0.2 ? 1 / 0.8 : 0) * (ranks[b * rank + r] > 0.5 ? 2 : 0);
  const { delta } = await deltaOf({ dropout: 0.2, rankDropout: 0.5, moduleDropout: 0.1 }, 1);
  close(delta, expected(keep));
});

Deno.test("a network without dropout draws nothing, and shares out of range are refused", () => {
  equal(new LoraNetwork("network 1", { unet: layers }, { rank }).dropoutKeyCount, 0);
  throws(() => new LoraNetwork("network 1", { unet: layers }, { rank, rankDropout: 1 }), {
    name: "RangeError",
    message: "Cannot make network 1: rankDropout is 1, must be from 0 to below 1",
  });
});
