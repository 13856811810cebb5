import { equal, ok, throws } from "node:assert/strict";
import { Matrix, QrDecomposition, SingularValueDecomposition } from "ml-matrix";
import type { LoraFileModule } from "../../formats/lora_file.ts";
import { groupInterference, moduleInterference } from "../../lora/interference.ts";
import { loraDelta } from "../../lora/merge.ts";
import { RandomStream } from "../../random/philox.ts";

/** A linear module of rank rows; `up` has a row for each output. */
function linear(down: readonly number[][], up: readonly number[][], alpha = down.length): LoraFileModule {
  return {
    name: "lora_unet_mid_block_attentions_0_proj_in",
    down: { shape: [down.length, down[0].length], values: Float32Array.from(down.flat()) },
    up: { shape: [up.length, up[0].length], values: Float32Array.from(up.flat()) },
    alpha,
  };
}

function near(found: number | null, expected: number, tolerance = 1e-12) {
  ok(found !== null && Math.abs(found - expected) < tolerance, `${found}, expected ${expected}`);
}

/** Numbers from −1 to 1, drawn independently: no direction is preferred on average. */
function some(count: number, seed: number) {
  const random = new RandomStream({ seed, stream: 0, step: 0 });
  return Float32Array.from({ length: count }, () => 2 * random.nextFloat() - 1);
}

const convolution = (rank: number, seed: number, alpha: number): LoraFileModule => ({
  name: "lora_unet_mid_block_resnets_0_conv1",
  down: { shape: [rank, 3, 3, 3], values: some(rank * 27, seed) },
  up: { shape: [8, rank, 1, 1], values: some(8 * rank, seed + 1) },
  alpha,
});

Deno.test("identical changes overlap wholly, have cosine 1 and crosstalk 1, linear and convolution", () => {
  const module = linear([[1, 2, 3, 0], [0, 1, -1, 5]], [[1, 0], [2, 1], [0, 3]], 1);
  for (const each of [module, convolution(4, 3, 2)]) {
    const found = moduleInterference(each, each);
    near(found.rows.overlap, 1);
    near(found.columns.overlap, 1);
    near(found.rows.largestCosine, 1);
    near(found.cosine, 1);
    const { crosstalk } = groupInterference("all", [found]);
    near(crosstalk[0], 1);
    near(crosstalk[1], 1);
  }
});

Deno.test("another basis of the same spaces is the same: factors mixed by [[1, 1], [0, 2]] and back", () => {
  // down' = M·down, up' = up·M⁻¹ with M = [[1, 1], [0, 2]], M⁻¹ = [[1, −½], [0, ½]].
  const one = linear([[1, 0, 0, 2], [0, 1, 3, 0]], [[1, 0], [2, 1], [0, 3]]);
  const two = linear([[1, 1, 3, 2], [0, 2, 6, 0]], [[1, -0.5], [2, -0.5], [0, 1.5]]);
  const found = moduleInterference(one, two);
  near(found.rows.overlap, 1);
  near(found.cosine, 1);
});

Deno.test("orthogonal rows do not overlap and have no crosstalk, whatever the columns", () => {
  const found = moduleInterference(linear([[1, 2, 0, 0]], [[1], [2]]), linear([[0, 0, 3, 4]], [[1], [2]]));
  near(found.rows.overlap, 0);
  near(found.columns.overlap, 1);
  near(found.cosine, 0);
  near(found.foreign[0], 0);
});

Deno.test("orthogonal columns do not overlap, yet the crosstalk of equal rows is 1", () => {
  const found = moduleInterference(linear([[1, 2]], [[1], [0]]), linear([[1, 2]], [[0], [1]]));
  near(found.columns.overlap, 0);
  near(found.rows.overlap, 1);
  near(found.cosine, 0);
  near(groupInterference("all", [found]).crosstalk[0], 1);
});

Deno.test("rows at 45 degrees overlap by cos² = 1/2; a plane that holds one of two directions by 1/2, largest cosine 1", () => {
  const line = moduleInterference(linear([[3, 0]], [[1]]), linear([[2, 2]], [[-1]]));
  near(line.rows.overlap, 0.5);
  near(line.rows.largestCosine, Math.SQRT1_2);
  // ⟨(3, 0), (−2, −2)⟩ / (3 · √8)
  near(line.cosine, -Math.SQRT1_2);
  // ΔW₂·V₁ = (−2, −2)·(1, 0) = −2; ΔW₁·V₂ = (3, 0)·(1, 1)/√2 = 3/√2.
  near(line.foreign[0], 2);
  near(line.foreign[1], 3 / Math.SQRT2);
  const plane = moduleInterference(
    linear([[1, 0, 0], [0, 1, 0]], [[1, 0], [0, 1]]),
    linear([[1, 0, 0], [0, 0, 1]], [[1, 0], [0, 1]]),
  );
  near(plane.rows.overlap, 0.5);
  near(plane.rows.largestCosine, 1);
  near(plane.rows.byChance, 2 / 3);
  equal(plane.columns.byChance, 1);
});

Deno.test("directions that up lets through nowhere, or that repeat, are none", () => {
  // The second row of down is met by a column of zeros; the third repeats the first.
  const one = linear([[1, 0, 0], [0, 1, 0], [1, 0, 0]], [[1, 0, 1], [0, 0, 0], [2, 0, 2]]);
  const found = moduleInterference(one, linear([[0, 1, 0]], [[1], [0], [0]]));
  equal(found.ranks.join(), "1,1");
  near(found.rows.overlap, 0);
});

Deno.test("a module that changes nothing interferes with nothing, gives no NaN, and is left out of means", () => {
  const zero = linear([[1, 2]], [[0]]), other = linear([[1, 2]], [[3]]);
  for (const pair of [[zero, other], [other, zero], [zero, zero]] as const) {
    const found = moduleInterference(...pair), group = groupInterference("all", [found]);
    ok(!JSON.stringify(found).includes("null"), "no NaN");
    equal(found.rows.overlap, 0);
    equal(found.foreign.join(), "0,0");
    equal(group.withoutEffect, 1);
    equal(group.rows, null);
    equal(group.cosine, null);
  }
  const group = groupInterference("all", [moduleInterference(zero, other), moduleInterference(other, other)]);
  equal(group.modules, 2);
  near(group.rows, 1);
  equal(groupInterference("all", [moduleInterference(other, zero)]).crosstalk.join(), "0,");
});

Deno.test("cosine and norms are those of the whole changes of weights, of convolutions with different ranks and alphas", () => {
  const one = convolution(4, 3, 2), two = convolution(2, 5, 7);
  const [a, b] = [loraDelta(one, 1), loraDelta(two, 1)];
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  const found = moduleInterference(one, two);
  near(found.norms[0] / Math.sqrt(dot(a, a)), 1, 1e-6);
  near(found.norms[1] / Math.sqrt(dot(b, b)), 1, 1e-6);
  near(found.cosine, dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)), 1e-6);
});

/** Singular values and vectors of `up · down` by QR of both factors, which squares nothing. */
function byOrthonormalFactors({ down, up }: LoraFileModule) {
  const rank = down.shape[0], ofUp = new QrDecomposition(Matrix.from1DArray(up.shape[0], rank, up.values));
  const ofDown = new QrDecomposition(Matrix.from1DArray(rank, down.values.length / rank, down.values).transpose());
  const inner = new SingularValueDecomposition(
    ofUp.upperTriangularMatrix.mmul(ofDown.upperTriangularMatrix.transpose()),
  );
  return {
    values: inner.diagonal,
    left: ofUp.orthogonalMatrix.mmul(inner.leftSingularVectors),
    right: ofDown.orthogonalMatrix.mmul(inner.rightSingularVectors),
  };
}

Deno.test("the spaces are those of orthonormal factors, where rows differ by 10⁵ in length and columns the other way", () => {
  const uneven = (seed: number, alpha: number): LoraFileModule => {
    const rank = 9, inSize = 31, outSize = 23, step = (i: number) => 10 ** (-5 * i / (rank - 1));
    return {
      name: "lora_unet_mid_block_attentions_0_proj_in",
      down: {
        shape: [rank, inSize],
        values: some(rank * inSize, seed).map((x, i) => x * step(Math.floor(i / inSize))),
      },
      up: { shape: [outSize, rank], values: some(outSize * rank, seed + 1).map((x, i) => x / step(i % rank)) },
      alpha,
    };
  };
  const one = uneven(11, 9), two = uneven(21, 9), [a, b] = [one, two].map(byOrthonormalFactors);
  const found = moduleInterference(one, two),
    squares = (each: { to1DArray(): number[] }) => each.to1DArray().reduce((sum, value) => sum + value * value, 0);
  equal(found.ranks.join(), "9,9");
  near(found.rows.overlap, squares(a.right.transpose().mmul(b.right)) / 9, 1e-11);
  near(found.columns.overlap, squares(a.left.transpose().mmul(b.left)) / 9, 1e-11);
  const foreign = Math.hypot(
    ...b.values.map((value, j) =>
      value * Math.hypot(...a.right.transpose().mmul(b.right.getColumnVector(j)).to1DArray())
    ),
  );
  near(found.foreign[0] / foreign, 1, 1e-11);
});

Deno.test("random subspaces overlap as byChance says: 2 and 4 of 27 dimensions, mean of 200", () => {
  const found = Array.from(
    { length: 200 },
    (_, i) => moduleInterference(convolution(4, 1000 + 2 * i, 1), convolution(2, 3000 + 2 * i, 1)).rows,
  );
  near(found[0].byChance, 4 / 27);
  near(found.reduce((sum, { overlap }) => sum + overlap, 0) / found.length, 4 / 27, 0.02);
});

Deno.test("a rank above the layer's size spans the layer's whole", () => {
  const found = moduleInterference(
    linear([[1, 0], [0, 1], [1, 1]], [[1, 0, 0], [0, 1, 0]]),
    linear([[1, 5]], [[1], [0]]),
  );
  equal(found.ranks.join(), "2,1");
  near(found.rows.overlap, 1);
  near(found.rows.byChance, 1);
});

Deno.test("layers of different sizes and numbers that are none are refused", () => {
  throws(
    () => moduleInterference(linear([[1, 2]], [[1]]), linear([[1, 2, 3]], [[1]])),
    { name: "RangeError", message: /proj_in is for a layer of 1×2 in the first and of 1×3 in the second/ },
  );
  throws(() => moduleInterference(linear([[1, NaN]], [[1]]), linear([[1, 2]], [[1]])), /NaN or infinite .* the first/);
});
