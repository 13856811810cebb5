import { add, matmul, reshape, scale, square, sum, type Tensor } from "../engine/mod.ts";
import type { LoraModule, LoraNetwork } from "./network.ts";

/**
 * How far the row spaces of two networks' down projections are from orthogonal: `‖A₁·A₂ᵀ‖²`, the squared Frobenius norm, averaged over the modules that both have. At 0
 * the two read parts of a layer's input that are orthogonal to each other.
 *
 * @returns `[]`
 * @throws {RangeError} If the networks have no module in common.
 * @see Wang et al. 2023 (O-LoRA), https://arxiv.org/abs/2310.14152, whose sum of absolute values this squares
 */
export function downOrthogonality(one: LoraNetwork, two: LoraNetwork): Tensor {
  return meanOverModules(one, two, ({ down: a }, { down: b }) =>
    // A convolution's weight lies as [height, width, in, rank], a matrix [in, rank] that is already turned.
    a.layout === "convolution"
      ? matmul(turned(a.tensor), turned(b.tensor), null, null, { transposeA: true })
      : matmul(flat(a.tensor), flat(b.tensor), null, null, { transposeB: true }));
}

/**
 * The same for the column spaces of the up projections: `‖B₁ᵀ·B₂‖²`. At 0 the networks' deltas at a layer are orthogonal for any inputs.
 *
 * @returns `[]`
 * @throws {RangeError} If the networks have no module in common.
 */
export function upOrthogonality(one: LoraNetwork, two: LoraNetwork): Tensor {
  return meanOverModules(
    one,
    two,
    ({ up: a }, { up: b }) => matmul(flat(a.tensor), flat(b.tensor), null, null, { transposeA: true }),
  );
}

function meanOverModules(
  one: LoraNetwork,
  two: LoraNetwork,
  product: (first: LoraModule, second: LoraModule) => Tensor,
): Tensor {
  const squares = one.modules.flatMap((first) => {
    const second = two.module(first.name);
    return second ? [sum(square(product(first, second)))] : [];
  });
  if (squares.length === 0) {
    throw new RangeError(`Cannot keep weights apart: ${one.name} and ${two.name} have no module in common`);
  }
  return scale(squares.reduce((total, each) => add(total, each)), { factor: 1 / squares.length });
}

/** `[rows, ...]` as a matrix `[rows, rest]`. */
function flat(x: Tensor): Tensor {
  const [rows, ...rest] = x.shape;
  return rest.length === 1 ? x : reshape(x, [rows, rest.reduce((a, b) => a * b, 1)]);
}

/** `[..., columns]` as a matrix `[rest, columns]`. */
function turned(x: Tensor): Tensor {
  const columns = x.shape[x.shape.length - 1];
  return reshape(x, [x.shape.slice(0, -1).reduce((a, b) => a * b, 1), columns]);
}
