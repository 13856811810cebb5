import { deepEqual, equal, ok, throws } from "node:assert/strict";
import type { LoraNetwork } from "../../lora/network.ts";
import { initialWeights } from "../../lora/initial_weights.ts";
import { checkPlaces, orthonormalDown } from "../../lora/orthonormal_down.ts";
import { openTiny, tinyBatch, tinyNetwork, trainTiny, uploadByRule } from "../training/tiny_training.ts";

/** Largest distance of A·Bᵀ from a multiple of the identity. */
function distance(a: ArrayLike<number>, b: ArrayLike<number>, rank: number, diagonal: number): number {
  const size = a.length / rank;
  let most = 0;
  for (let r = 0; r < rank; r++) {
    for (let q = 0; q < rank; q++) {
      let dot = 0;
      for (let i = 0; i < size; i++) dot += a[r * size + i] * b[q * size + i];
      most = Math.max(most, Math.abs(dot - (r === q ? diagonal : 0)));
    }
  }
  return most;
}

Deno.test("orthonormalDown() has orthonormal rows, orthogonal to those of every other place", () => {
  const size = 31, places = [0, 1, 2].map((place) => orthonormalDown("lora_unet_x", { place, rank: 7, inSize: size }));
  for (const [k, rows] of places.entries()) {
    equal(rows.length, 7 * size);
    ok(distance(rows, rows, 7, 1) < 1e-6);
    for (const other of places.slice(k + 1)) ok(distance(rows, other, 7, 0) < 1e-6);
  }
  // Another module has another basis.
  ok(distance(places[0], orthonormalDown("lora_unet_y", { place: 0, rank: 7, inSize: size }), 7, 1) > 0.1);
});

Deno.test("orthonormalDown() says how many networks a layer has room for", () => {
  throws(
    () => orthonormalDown("lora_unet_x", { place: 1, rank: 16, inSize: 31 }),
    /^RangeError: Cannot make lora_unet_x orthonormal at place 1: its layer has 31 inputs, room for 1 network of rank 16; lower the rank$/,
  );
});

const tiny = await openTiny();

Deno.test("networks that would share rows of a basis are refused: at one place, or with ranks by which places meet", () => {
  const at = (orthonormalPlace: number | undefined, rank: number) =>
    tinyNetwork(tiny.base, 1, { learningRate: 1e-2 }, { rank, orthonormalPlace }).lora;
  // Rows 0 and 1 beside 2 and 3; beside 2; 2 and 3 beside 1.
  for (const [a, b] of [[at(0, 2), at(1, 2)], [at(0, 2), at(2, 1)], [at(1, 2), at(1, 1)]]) checkPlaces(a, b);
  checkPlaces(at(0, 2), at(undefined, 2));
  throws(
    () => checkPlaces(at(0, 2), at(1, 1)),
    /^RangeError: Cannot keep lora_\w+ apart: of its basis .* at orthonormalPlace 0 with rank 2 takes rows 0 to 1, .* at orthonormalPlace 1 with rank 1 takes rows 1 to 1; give both networks one rank, and each a place of its own$/,
  );
  throws(() => checkPlaces(at(1, 2), at(1, 2)), /takes rows 2 to 3, .* takes rows 2 to 3;/);
});

Deno.test("a network at a place starts from its basis, and training moves its up projections alone", async () => {
  const network = tinyNetwork(tiny.base, 1, { learningRate: 1e-2 }, { rank: 2, orthonormalPlace: 1 });
  const start = network.lora.unflatten(initialWeights(network.lora, { seed: 1, stream: 1 }));
  for (const [{ name, rank }, { down, up }] of start) {
    deepEqual(down, orthonormalDown(name, { place: 1, rank, inSize: down.length / rank }));
    ok(up.every((value) => value === 0));
  }
  const trained = await trainTiny(tiny, [network], [[tinyBatch(1)], [tinyBatch(2)]]);
  const before = network.lora.unflatten(await uploadedByRule(network.lora)),
    after = network.lora.unflatten(
      trained.state.networks[0].weights,
    );
  for (const [module, { down, up }] of after) {
    deepEqual(down, before.get(module)!.down, module.down.name);
    ok(up.some((value, i) => value !== before.get(module)!.up[i]), module.up.name);
  }
  const ups = network.lora.modules.reduce((sum, { up }) => sum + up.sizeElements, 0);
  equal(network.lora.parameterCount, ups);
});

/** What `trainTiny` starts from. */
async function uploadedByRule(lora: LoraNetwork): Promise<Float32Array> {
  uploadByRule(tiny.device, { lora } as Parameters<typeof uploadByRule>[1]);
  return await tiny.device.download(lora.weights) as Float32Array;
}
