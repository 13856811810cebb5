import { float } from "./wgsl.ts";

/** WGSL `sigmoid(x)`; bounded so that no infinity arises, which WGSL lets compilers assume absent. */
export const sigmoidWgsl = `
fn sigmoid(x: V) -> V { return 1.0 / (1.0 + exp(min(-x, V(80.0)))); }
`;

/** WGSL `silu(x)` = x·σ(x) and `siluSlope(x)` = σ(x)·(1 + x·(1 − σ(x))). */
export const siluWgsl = `${sigmoidWgsl}
fn silu(x: V) -> V { return x * sigmoid(x); }
fn siluSlope(x: V) -> V { let s = sigmoid(x); return s * (1.0 + x * (1.0 - s)); }
`;

// Q(t) of the normal distribution's upper tail, 1 − Φ(a) = exp(−a²/2)·t·Q(t) with t = 1 / (1 + 0.27·a): interpolated at Chebyshev
// nodes for a in [0, 12]. Relative error at most 2.7e-8, below f32's rounding.
const tail = [
  0.10771633103325996,
  0.10761246129077899,
  0.10133723009808636,
  0.07383002349280349,
  0.10377146642023288,
  -0.06347965239306558,
  0.16486702242765097,
  -0.1241381998987921,
  0.028483326672404993,
];

/** WGSL `gelu(x)` = x·Φ(x) and `geluSlope(x)` = Φ(x) + x·φ(x), exact to f32's rounding rather than by tanh. */
export const geluWgsl = `
fn normalCdf(x: V, bell: V) -> V {
  let t = 1.0 / (1.0 + 0.27 * abs(x));
  var q = V(${float(tail[tail.length - 1])});
${tail.slice(0, -1).toReversed().map((coefficient) => `  q = q * t + ${float(coefficient)};`).join("\n")}
  q *= t * bell;
  return select(1.0 - q, q, x < V(0.0));
}
fn gelu(x: V) -> V { return x * normalCdf(x, exp(-0.5 * x * x)); }
fn geluSlope(x: V) -> V {
  let bell = exp(-0.5 * x * x);
  return normalCdf(x, bell) + x * bell * ${float(1 / Math.sqrt(2 * Math.PI))};
}
`;
