import type { Input } from "../../op_list.ts";

/** Reorders axes, as NumPy's transpose does. */
export function transpose({ shape, data }: Input, order: readonly number[]): Input {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const to = order.map((axis) => shape[axis]), index = to.map(() => 0), out = new Float32Array(data.length);
  for (let i = 0; i < out.length; i++) {
    out[i] = data[index.reduce((sum, at, axis) => sum + at * strides[order[axis]], 0)];
    for (let axis = to.length - 1; axis >= 0 && ++index[axis] === to[axis]; axis--) index[axis] = 0;
  }
  return { shape: to, data: out };
}

/** The adapter as it names itself. */
export async function adapterName(): Promise<string> {
  const info = (await navigator.gpu?.requestAdapter())?.info;
  return info?.description || info?.device || "none";
}
