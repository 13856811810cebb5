import { deepEqual, ok } from "node:assert/strict";
import { weightByRule } from "../../formats/weights_by_rule.ts";
import { LoraNetwork } from "../../lora/network.ts";
import { type NullSpaceSide, projectToNullSpace } from "../../lora/null_space.ts";
import type { LayerInfo } from "../../models/source.ts";

function layerOf(inSize: number, outSize: number, kernel = 0): LayerInfo {
  const family = kernel > 1 ? "ResnetBlock2D" : "Transformer2DModel", stride = kernel ? 1 : 0;
  return { path: "mid_block.x", kind: kernel ? "conv2d" : "linear", inSize, outSize, kernel, stride, family };
}

/** Projects network 2 of one module against network 1. */
function project(
  layer: LayerInfo,
  [rank1, rank2]: readonly [number, number],
  side: NullSpaceSide,
  one: { down: readonly number[]; up: readonly number[] },
  two: { down: readonly number[]; up: readonly number[] },
) {
  const [first, second] = [rank1, rank2].map((rank, k) =>
    new LoraNetwork(`network ${k + 1}`, { unet: [layer] }, { rank, convRank: rank })
  );
  const flat = (network: LoraNetwork, { down, up }: typeof one) =>
    network.flatten(() => ({ down: Float32Array.from(down), up: Float32Array.from(up) }));
  const found = projectToNullSpace(second, flat(second, two), first, flat(first, one), side);
  return second.unflatten(found).get(second.modules[0])!;
}

Deno.test("projectToNullSpace() takes out of the rows what network 1 reads, and leaves the rest", () => {
  // Network 1 reads the first direction, and the same again; of [3, 4] the second is left.
  const one = { down: [1, 0, 2, 0], up: [1, 1, 1, 1] }, two = { down: [3, 4], up: [5, 6] };
  const { down, up } = project(layerOf(2, 2), [2, 1], "rows", one, two);
  ok(Math.abs(down[0]) < 1e-7 && Math.abs(down[1] - 4) < 1e-6, `${down}`);
  deepEqual([...up], [5, 6]);
});

Deno.test("projectToNullSpace() takes out of the columns what network 1 writes", () => {
  // Network 1 writes along [1, 1]; of [4, 0] the part along [1, −1] is left.
  const one = { down: [1, 0], up: [1, 1] }, two = { down: [3, 4], up: [4, 0] };
  const { down, up } = project(layerOf(2, 2), [1, 1], "columns", one, two);
  ok(Math.abs(up[0] - 2) < 1e-6 && Math.abs(up[1] + 2) < 1e-6, `${up}`);
  deepEqual([...down], [3, 4]);
});

Deno.test("projectToNullSpace() leaves nothing where network 1's space is the whole, and everything where network 1 is 0", () => {
  const two = { down: [3, 4], up: [5, 6] };
  const whole = project(layerOf(2, 2), [2, 1], "rows", { down: [1, 2, 3, 4], up: [0, 0, 0, 0] }, two);
  ok(whole.down.every((value) => Math.abs(value) < 1e-6), `${whole.down}`);
  const none = project(layerOf(2, 2), [2, 1], "rows", { down: [0, 0, 0, 0], up: [0, 0, 0, 0] }, two);
  deepEqual([...none.down], [3, 4]);
});

Deno.test("after projectToNullSpace() the products of a convolution's modules are 0 too", () => {
  const layer = layerOf(3, 5, 3), of = (name: string, shape: number[]) => Array.from(weightByRule(name, shape));
  const one = { down: of("a1", [4, 27]), up: of("b1", [5, 4]) },
    two = { down: of("a2", [2, 27]), up: of("b2", [5, 2]) };
  const { down } = project(layer, [4, 2], "rows", one, two), { up } = project(layer, [4, 2], "columns", one, two);
  for (let r = 0; r < 4; r++) {
    for (let q = 0; q < 2; q++) {
      let read = 0, written = 0;
      for (let i = 0; i < 27; i++) read += one.down[r * 27 + i] * down[q * 27 + i];
      for (let o = 0; o < 5; o++) written += one.up[o * 4 + r] * up[o * 2 + q];
      ok(Math.abs(read) < 1e-6 && Math.abs(written) < 1e-6, `${r}, ${q}: ${read}, ${written}`);
    }
  }
  ok(down.some((value) => Math.abs(value) > 0.01) && up.some((value) => Math.abs(value) > 0.01));
});
