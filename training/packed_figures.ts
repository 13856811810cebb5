import { elementCount, pack, type Tensor } from "../engine/mod.ts";

/** Several small tensors as one output, so that a run's figures are read back together. */
export interface PackedFigures {
  readonly tensor: Tensor;
  /** Numbers of one packed row, under their names. */
  unpack(row: ArrayLike<number>): Record<string, number | number[]>;
}

/** Packs figures into one output. */
export function packFigures(figures: Readonly<Record<string, Tensor>>): PackedFigures {
  const names = Object.keys(figures), places: { name: string; offset: number; shape: readonly number[] }[] = [];
  let size = 0;
  for (const name of names) {
    places.push({ name, offset: size, shape: figures[name].shape });
    size = Math.ceil((size + elementCount(figures[name].shape)) / 64) * 64;
  }
  return {
    tensor: pack(names.map((name) => figures[name]), places.map(({ offset }) => offset), size),
    unpack: (row) =>
      Object.fromEntries(places.map(({ name, offset, shape }) => [
        name,
        shape.length === 0 ? row[offset] : Array.from({ length: elementCount(shape) }, (_, i) => row[offset + i]),
      ])),
  };
}
