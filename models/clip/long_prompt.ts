import { concat, reshape, slice, type Tensor } from "../../engine/mod.ts";

/**
 * Joins the states of long prompts, encoded in rows of BOS, tokens, EOS: the first BOS, each row's inside, the last EOS.
 *
 * @param states `[batch · rows, tokens, size]`: each prompt's rows one after another.
 * @returns `[batch, (tokens − 2) · rows + 2, size]`; for 77 tokens 77, 152, 227 and so on.
 * @throws {RangeError} If the rows do not make whole prompts.
 */
export function joinRows(states: Tensor, rows: number): Tensor {
  if (!Number.isInteger(rows) || rows < 1 || states.shape[0] % rows !== 0) {
    throw new RangeError(`Cannot join a prompt's rows: ${states.shape[0]} rows are no multiple of ${rows}`);
  }
  if (rows === 1) return states;
  const [count, tokens, size] = states.shape, batch = count / rows;
  const whole = reshape(states, [batch, rows * tokens, size]);
  const first = slice(whole, { axis: 1, start: 0, length: 1 });
  const inside = slice(states, { axis: 1, start: 1, length: tokens - 2 });
  const last = slice(whole, { axis: 1, start: rows * tokens - 1, length: 1 });
  const start = concat(first, reshape(inside, [batch, rows * (tokens - 2), size]), { axis: 1 });
  return concat(start, last, { axis: 1 });
}
