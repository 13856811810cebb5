import { RandomStream } from "../random/philox.ts";
import type { LoraNetwork } from "./network.ts";
import { orthonormalDown } from "./orthonormal_down.ts";

const firstStream = 200;

/**
 * A network's weights before training: down projections Kaiming-uniform with a = √5, so uniform in ±1/√fan_in, or orthonormal where the network freezes them; up
 * projections 0, so that it changes nothing yet.
 *
 * @param options.stream Tells networks of one seed apart.
 * @returns Flat, laid out as `network.weights`.
 * @see He et al. 2015, https://arxiv.org/abs/1502.01852
 */
export function initialWeights(network: LoraNetwork, options: { seed: number; stream: number }): Float32Array {
  const { orthonormalPlace: place } = network;
  let module = 0;
  return network.flatten(({ name, rank, down, up }) => {
    if (place !== undefined) {
      const inSize = down.sizeElements / rank;
      return { down: orthonormalDown(name, { place, rank, inSize }), up: new Float32Array(up.sizeElements) };
    }
    // A stream of its own for each module: one module's shape does not shift the next one's numbers.
    const random = new RandomStream({ seed: options.seed, stream: firstStream + options.stream, step: module++ });
    const limit = 1 / Math.sqrt(down.sizeElements / down.shape[0]);
    return {
      down: Float32Array.from({ length: down.sizeElements }, () => (2 * random.nextFloat() - 1) * limit),
      up: new Float32Array(up.sizeElements),
    };
  });
}
