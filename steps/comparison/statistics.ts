/** A mean with its 95 % confidence interval. */
export interface MeanInterval {
  readonly mean: number;
  /** Half the interval's width: the interval is `mean ± half`. NaN for a single value. */
  readonly half: number;
  readonly count: number;
}

/** A paired t-test: two figures of the same seeds. */
export interface PairedTest extends MeanInterval {
  /** Two-sided p of a mean difference of 0; NaN for a single pair. */
  readonly p: number;
}

/**
 * Mean and 95 % interval by Student's t: `mean ± t₀.₉₇₅(n − 1) · s / √n`.
 *
 * @throws {RangeError} If there are no values.
 */
export function meanInterval(values: readonly number[]): MeanInterval {
  const count = values.length;
  if (count === 0) throw new RangeError("Cannot take a mean: there are no values");
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  return { mean, half: count === 1 ? NaN : tQuantile(0.975, count - 1) * standardError(values, mean), count };
}

/**
 * Half of the 95 % interval of a figure that is no mean, such as a ratio of sums, by the jackknife: `t₀.₉₇₅(n − 1) · √((n − 1) / n · Σ(θᵢ − θ̄)²)`, θᵢ the figure
 * without value i. Of a mean it is that of {@linkcode meanInterval}.
 *
 * @param count n, how many values there are.
 * @param without θᵢ.
 * @returns NaN for a single value.
 * @see Efron, Stein 1981, The jackknife estimate of variance, https://doi.org/10.1214/aos/1176345462
 */
export function jackknifeHalf(count: number, without: (left: number) => number): number {
  if (count < 2) return NaN;
  const figures = Array.from({ length: count }, (_, left) => without(left));
  const mean = figures.reduce((sum, value) => sum + value, 0) / count;
  const squares = figures.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return tQuantile(0.975, count - 1) * Math.sqrt(squares * (count - 1) / count);
}

/**
 * The paired two-sided t-test of `after − before`, pair by pair.
 *
 * @throws {RangeError} If the lists differ in length, or are empty.
 */
export function pairedTest(after: readonly number[], before: readonly number[]): PairedTest {
  if (after.length !== before.length) {
    throw new RangeError(`Cannot test pairs: ${after.length} values and ${before.length}, must be as many`);
  }
  const differences = after.map((value, i) => value - before[i]), interval = meanInterval(differences);
  const error = standardError(differences, interval.mean), { mean, count } = interval;
  if (count === 1) return { ...interval, p: NaN };
  // Pairs that all differ by the same: no difference at all, or one beyond doubt.
  if (error === 0) return { ...interval, p: mean === 0 ? 1 : 0 };
  return { ...interval, p: 2 * tTail(Math.abs(mean / error), count - 1) };
}

function standardError(values: readonly number[], mean: number): number {
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1) / values.length);
}

/**
 * Probability that Student's t with some degrees of freedom is above `t`.
 *
 * `½ · I_x(ν/2, ½)` with `x = ν / (ν + t²)`, for t from 0 on.
 */
export function tTail(t: number, degrees: number): number {
  return incompleteBeta(degrees / (degrees + t * t), degrees / 2, 0.5) / 2;
}

/** The value that Student's t is below with probability `p`, from 0.5 to below 1. */
export function tQuantile(p: number, degrees: number): number {
  let low = 0, high = 1;
  while (tTail(high, degrees) > 1 - p) high *= 2;
  // Halving to the last bit: 60 halvings are enough for any p that a double can tell from 1.
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (tTail(middle, degrees) > 1 - p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/**
 * The regularized incomplete beta function I_x(a, b), by its continued fraction (Lentz).
 *
 * @see NIST DLMF 8.17.22, https://dlmf.nist.gov/8.17.E22
 */
function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  // The fraction converges fast on this side only.
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const front = Math.exp(a * Math.log(x) + b * Math.log(1 - x) - logBeta(a, b)) / a, tiny = 1e-300;
  const away = (value: number) => Math.abs(value) < tiny ? tiny : value;
  let c = 1, d = 1 / away(1 - (a + b) * x / (a + 1)), result = d;
  for (let m = 1; m < 500; m++) {
    const even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away(1 + even * d);
    c = away(1 + even / c);
    result *= d * c;
    const odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away(1 + odd * d);
    c = away(1 + odd / c);
    const factor = d * c;
    result *= factor;
    if (Math.abs(factor - 1) < 1e-15) break;
  }
  return front * result;
}

/** `log B(a, b)` for multiples of ½, by `Γ(x + 1) = x · Γ(x)`. */
function logBeta(a: number, b: number): number {
  return logGamma(a) + logGamma(b) - logGamma(a + b);
}

function logGamma(x: number): number {
  let result = x % 1 === 0 ? 0 : Math.log(Math.PI) / 2;
  for (let each = x - 1; each > 0; each--) result += Math.log(each);
  return result;
}
