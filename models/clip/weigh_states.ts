import { divide, multiply, reshape, scale, sum, type Tensor } from "../../engine/mod.ts";

/**
 * Multiplies a prompt's states by its tokens' weights, then all of them by one factor that keeps their mean, as sd-scripts and diffusers' long-prompt
 * pipeline do.
 *
 * @param states `[batch, tokens, size]`
 * @param weights `[batch, tokens]`
 */
export function weighStates(states: Tensor, weights: Tensor): Tensor {
  const [batch, tokens, size] = states.shape;
  const total = (x: Tensor) => reshape(scale(sum(x, [1, 2]), { factor: 1 / (tokens * size) }), [batch, 1, 1]);
  const weighed = multiply(states, reshape(weights, [batch, tokens, 1]));
  return multiply(weighed, divide(total(states), total(weighed)));
}
