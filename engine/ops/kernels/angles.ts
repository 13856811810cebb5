import { float } from "./wgsl.ts";

/** Taylor's series as a WGSL polynomial of `s`, the square of an angle of at most π/4: what is left out is below 2⁻²⁵. */
const series = (...factorials: number[]) =>
  factorials.reduceRight((rest, n, i) => `${float((i % 2 ? 1 : -1) / n)}${rest && ` + s * (${rest})`}`, "");

/**
 * WGSL `cosineAndSine(turns)` of an angle in turns of a circle, to f32's rounding.
 *
 * WGSL's own `cos` and `sin` may be off by 2⁻¹¹, and on some adapters they are off by 10⁻⁴ and more: noise and timesteps would differ from one to another.
 *
 * @see https://www.w3.org/TR/WGSL/#concrete-float-accuracy
 */
export const cosineAndSineWgsl = `
fn cosineAndSine(turns: f32) -> vec2f {
  let quarter = round(turns * 4.0);
  let angle = (turns - quarter * 0.25) * ${float(2 * Math.PI)};
  let s = angle * angle;
  let cosine = 1.0 + s * (${series(2, 24, 720, 40320)});
  let sine = angle + angle * s * (${series(6, 120, 5040, 362880)});
  let place = u32(i32(quarter)) & 3u;
  let turned = select(vec2f(cosine, sine), vec2f(-sine, cosine), (place & 1u) == 1u);
  return select(turned, -turned, place >= 2u);
}
`;
