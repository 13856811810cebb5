import { Matrix, QrDecomposition } from "ml-matrix";
import { uniformByRule } from "../formats/weights_by_rule.ts";
import type { LoraNetwork } from "./network.ts";

/**
 * A frozen down projection of Orthogonal Adaptation: rows `place · rank` to `(place + 1) · rank` of one orthonormal basis of the layer's inputs, which the module's
 * name alone decides. The down projections of two networks of one rank at different places are orthogonal, `A₁·A₂ᵀ = 0`, wherever and whenever they were made.
 *
 * The basis is the Q of columns that are uniform by rule; a column depends on those before it alone, so any number of places agree.
 *
 * @param module kohya's name.
 * @param inSize Numbers in a row: inputs of the layer, times the kernel's area.
 * @returns `[rank, inSize]`, row-major.
 * @throws {RangeError} If the layer has too few inputs for so many places.
 * @see Po et al. 2024, https://arxiv.org/abs/2312.02432
 */
export function orthonormalDown(
  module: string,
  { place, rank, inSize }: { readonly place: number; readonly rank: number; readonly inSize: number },
): Float32Array<ArrayBuffer> {
  checkPlace(module, { place, rank, inSize });
  const columns = (place + 1) * rank;
  const random = new Matrix(inSize, columns);
  for (let column = 0; column < columns; column++) {
    random.setColumn(column, Array.from(uniformByRule(`${module}.basis`, inSize, column)));
  }
  const basis = new QrDecomposition(random).orthogonalMatrix, rows = new Float32Array(rank * inSize);
  for (let row = 0; row < rank; row++) {
    for (let i = 0; i < inSize; i++) rows[row * inSize + i] = basis.get(i, place * rank + row);
  }
  return rows;
}

/** A place in the basis of a layer's inputs. */
type Place = Parameters<typeof orthonormalDown>[1];

function checkPlace(module: string, { place, rank, inSize }: Place): void {
  if ((place + 1) * rank <= inSize) return;
  const places = Math.floor(inSize / rank);
  throw new RangeError(
    `Cannot make ${module} orthonormal at place ${place}: its layer has ${inSize} inputs, room for ${places} ` +
      `${places === 1 ? "network" : "networks"} of rank ${rank}; lower the rank`,
  );
}

/**
 * Checks that all layers have room for a network whose down projections are frozen at its place, before any is made.
 *
 * @throws {RangeError} If one has not.
 */
export function checkRoom({ orthonormalPlace: place, modules }: LoraNetwork): void {
  if (place === undefined) return;
  for (const { name, rank, down } of modules) checkPlace(name, { place, rank, inSize: down.sizeElements / rank });
}

/**
 * Checks that the frozen down projections of two networks share no row of a basis: one place is no other's, and of another rank it begins at another row.
 *
 * @throws {RangeError} If they do.
 */
export function checkPlaces(one: LoraNetwork, two: LoraNetwork): void {
  for (const { name, rank } of one.modules) {
    const other = two.module(name);
    const [a, b] = [one.orthonormalPlace, two.orthonormalPlace];
    if (other === undefined || a === undefined || b === undefined) continue;
    if (a * rank >= (b + 1) * other.rank || b * other.rank >= (a + 1) * rank) continue;
    const rows = (network: LoraNetwork, place: number, rank: number) =>
      `${network.name} at orthonormalPlace ${place} with rank ${rank} takes rows ${place * rank} to ${
        (place + 1) * rank - 1
      }`;
    throw new RangeError(
      `Cannot keep ${name} apart: of its basis ${rows(one, a, rank)}, ${rows(two, b, other.rank)}; ` +
        "give both networks one rank, and each a place of its own",
    );
  }
}
