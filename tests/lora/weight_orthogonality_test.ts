import { equal, ok, throws } from "node:assert/strict";
import { gradients, plan, type Tensor } from "../../engine/mod.ts";
import { weightByRule } from "../../formats/weights_by_rule.ts";
import { type LoraModule, LoraNetwork } from "../../lora/network.ts";
import { downOrthogonality, upOrthogonality } from "../../lora/weight_orthogonality.ts";
import type { LayerInfo } from "../../models/source.ts";
import { sharedDevice } from "../probe/golden_tensors.ts";

const linear: LayerInfo = {
  ...{ path: "mid_block.attentions.0.proj_in", kind: "linear", inSize: 6, outSize: 5, kernel: 0, stride: 0 },
  family: "Transformer2DModel",
};
const convolution: LayerInfo = {
  ...{ path: "mid_block.resnets.0.conv1", kind: "conv2d", inSize: 3, outSize: 4, kernel: 3, stride: 1 },
  family: "ResnetBlock2D",
};
const networks = [3, 2].map((rank, k) =>
  new LoraNetwork(`network ${k + 1}`, { unet: [linear, convolution] }, { rank, convRank: rank })
);
const [one, two] = networks;

/** Matrices in the file's layout. */
function values(network: LoraNetwork) {
  return new Map(network.modules.map((module) => [module.name, {
    down: weightByRule(`${network.name} ${module.down.name}`, module.down.shape),
    up: weightByRule(`${network.name} ${module.up.name}`, module.up.shape),
  }]));
}

type Matrices = ReturnType<typeof values>;

/** The mean over modules of ‖A₁A₂ᵀ‖² or ‖B₁ᵀB₂‖², entry by entry. */
function byHand(first: Matrices, second: Matrices, which: "down" | "up"): number {
  let sum = 0;
  for (const { name, rank: rank1 } of one.modules) {
    const a = first.get(name)![which], b = second.get(name)![which], rank2 = two.module(name)!.rank;
    const size = a.length / rank1;
    const entry = (matrix: Float32Array, rank: number, r: number, i: number) =>
      which === "down" ? matrix[r * size + i] : matrix[i * rank + r];
    for (let r = 0; r < rank1; r++) {
      for (let q = 0; q < rank2; q++) {
        let dot = 0;
        for (let i = 0; i < size; i++) dot += entry(a, rank1, r, i) * entry(b, rank2, q, i);
        sum += dot * dot;
      }
    }
  }
  return sum / one.modules.length;
}

for (const [which, penalty] of [["down", downOrthogonality], ["up", upOrthogonality]] as const) {
  Deno.test(`${which}Orthogonality() is the mean over linear modules and convolutions, its gradient that of differences`, async () => {
    const device = await sharedDevice(), first = values(one), second = values(two);
    const term = penalty(one, two), wanted = two.tensors.map(({ tensor }) => tensor);
    const found = gradients(term, wanted);
    // Only the matrices that the penalty is made of have a gradient.
    two.modules.forEach((_, m) => {
      equal(found[2 * m] !== null, which === "down");
      equal(found[2 * m + 1] !== null, which === "up");
    });
    const outputs: Record<string, Tensor> = { term };
    found.forEach((gradient, i) => gradient && (outputs[two.tensors[i].name] = gradient));
    device.upload(one.weights, one.flatten(({ name }) => first.get(name)!));
    device.upload(two.weights, two.flatten(({ name }) => second.get(name)!));
    const program = await device.compile(plan({ outputs }));
    program.run({});
    const read = await program.read(...Object.keys(outputs));
    device.release(program);
    device.free([one.weights, two.weights]);
    const expected = byHand(first, second, which);
    ok(Math.abs(read.term[0] / expected - 1) < 1e-5, `${read.term[0]}, by hand ${expected}`);
    for (const module of two.modules) {
      const tensor = module[which], layout = two.unflatten(flat(module, which, read[tensor.name])).get(module)![which];
      for (const at of [0, 5, layout.length - 1]) {
        const moved = (by: number) => {
          const changed = new Map(second), own = second.get(module.name)!;
          changed.set(module.name, { ...own, [which]: own[which].map((value, i) => i === at ? value + by : value) });
          return byHand(first, changed, which);
        };
        const slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
        ok(Math.abs(layout[at] - slope) < 1e-4, `${tensor.name} ${at}: ${layout[at]}, by differences ${slope}`);
      }
    }
  });
}

/** One tensor's gradient at its place in flat weights. */
function flat(module: LoraModule, which: "down" | "up", gradient: ArrayLike<number>): Float32Array {
  const whole = new Float32Array(two.sizeElements);
  whole.set(gradient as Float32Array, module[which].offsetElements);
  return whole;
}

Deno.test("networks without a module in common cannot be kept apart", () => {
  const other = new LoraNetwork("network 2", { unet: [{ ...linear, path: "mid_block.attentions.0.proj_out" }] }, {
    rank: 1,
  });
  throws(() => downOrthogonality(one, other), /^RangeError: .* network 1 and network 2 have no module in common$/);
});
