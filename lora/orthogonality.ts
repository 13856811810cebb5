import {
  exp,
  logSoftmax,
  maskDiagonal,
  matmul,
  mean,
  multiply,
  permute,
  reshape,
  scale,
  slice,
  square,
  subtract,
  sum,
  type Tensor,
} from "../engine/mod.ts";

/** Which entries of the Gram matrix the text term punishes: all but the diagonal (the method's formula), or the diagonal alone (the original's code). */
export type TextMask = "1-I" | "I";

/** kohya's names of the modules whose deltas are the method's hidden layers. */
export const hooks = {
  textEncoder: "lora_te_text_model_encoder_layers_9_mlp_fc2",
  unet: "lora_unet_mid_block_attentions_0_proj_out",
} as const;

/**
 * Orthogonality of two text hidden layers: `mean((G ⊙ M)²)` with `G = h1·h2ᵀ` over tokens; the mean counts the masked entries too.
 *
 * @param h1 `[batch, tokens, channels]`
 * @param h2 `[batch, tokens, channels]`; of another batch size only the samples that have a partner count.
 * @returns `[]`
 */
export function textOrthogonality(h1: Tensor, h2: Tensor, mask: TextMask): Tensor {
  const [a, b] = paired(h1, h2);
  return maskedMeanSquare(matmul(a, b, null, null, { transposeB: true }), mask === "I" ? "diagonal" : "rest");
}

/**
 * Orthogonality of two UNet hidden layers: for each sample and channel `G = h1·h2ᵀ` of the height × width matrices, then `mean((G ⊙ (1 − I))²)`.
 *
 * @param h1 `[batch, height, width, channels]`
 * @param h2 `[batch, height, width, channels]`; where sizes differ only the middle that both have counts.
 * @returns `[]`
 */
export function unetOrthogonality(h1: Tensor, h2: Tensor): Tensor {
  const [a, b] = pairedPictures(h1, h2);
  return maskedMeanSquare(matmul(a, b, null, null, { transposeB: true }), "rest");
}

/**
 * Kullback-Leibler divergence `Σ p2·(log p2 − log p1) / batch` with p = softmax over channels, of two text hidden layers. Always logged; trained on only with a
 * coefficient of its own.
 *
 * @returns `[]`
 */
export function textDivergence(h1: Tensor, h2: Tensor): Tensor {
  const [a, b] = paired(h1, h2);
  return divergence(a, b, a.shape[0]);
}

/** The same for UNet hidden layers, with softmax over **width**, as the original does. */
export function unetDivergence(h1: Tensor, h2: Tensor): Tensor {
  const [a, b] = pairedPictures(h1, h2);
  return divergence(a, b, Math.min(h1.shape[0], h2.shape[0]));
}

function maskedMeanSquare(gram: Tensor, keep: "diagonal" | "rest"): Tensor {
  return mean(square(maskDiagonal(gram, { keep })));
}

function divergence(h1: Tensor, h2: Tensor, batch: number): Tensor {
  const log1 = logSoftmax(h1), log2 = logSoftmax(h2);
  return scale(sum(multiply(exp(log2), subtract(log2, log1))), { factor: 1 / batch });
}

/** Both along their common part: samples by place from the first, other axes from the middle. */
function paired(h1: Tensor, h2: Tensor): [Tensor, Tensor] {
  let a = h1, b = h2;
  for (let axis = 0; axis < h1.shape.length; axis++) {
    const length = Math.min(a.shape[axis], b.shape[axis]);
    const cut = (x: Tensor) => {
      const start = axis === 0 ? 0 : Math.floor((x.shape[axis] - length) / 2);
      return x.shape[axis] === length ? x : slice(x, { axis, start, length });
    };
    a = cut(a);
    b = cut(b);
  }
  return [a, b];
}

/** NHWC pictures as `[batch · channels, height, width]`. */
function pairedPictures(h1: Tensor, h2: Tensor): [Tensor, Tensor] {
  const [a, b] = paired(h1, h2);
  const matrices = (x: Tensor) => {
    const [batch, height, width, channels] = x.shape;
    return reshape(permute(x, { order: [0, 3, 1, 2] }), [batch * channels, height, width]);
  };
  return [matrices(a), matrices(b)];
}
