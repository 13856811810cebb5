/**
 * The 256 values, sorted, that the codes of 8-bit optimizer state stand for: dense near 0 in steps of powers of ten, as bitsandbytes 0.35 makes them.
 *
 * For i from 0 to 6 the interval [0.1, 1] is cut into 2ⁱ equal parts (2ⁱ⁺¹ without signs), whose middles times 10ⁱ⁻⁶ count, with both signs if signed; then 0
 * and 1.
 *
 * @param isSigned For a first moment; second moments have no negative values.
 * @see Dettmers et al. 2022, https://arxiv.org/abs/2110.02861
 */
export function dynamicMap(isSigned: boolean): Float32Array {
  const values = [0, 1];
  for (let i = 0; i < 7; i++) {
    const parts = isSigned ? 2 ** i : 2 ** (i + 1);
    for (let part = 0; part < parts; part++) {
      const middle = (0.1 + 0.9 * (part + 0.5) / parts) * 10 ** (i - 6);
      values.push(middle);
      if (isSigned) values.push(-middle);
    }
  }
  return Float32Array.from(values).sort();
}
