import { EigenvalueDecomposition, type Matrix } from "ml-matrix";
import type { LoraFileModule } from "../formats/lora_file.ts";
import { basisProducts, factorSpaces } from "./factor_spaces.ts";

/** How two subspaces of one space lie to each other, by the principal angles θ between them. */
export interface SubspaceOverlap {
  /** Mean of cos²θ over the angles, from 0 (orthogonal) to 1 (one lies in the other); 0 where one of them has no directions. */
  readonly overlap: number;
  /** cos θ of the smallest angle: 1 where they share a direction. */
  readonly largestCosine: number;
  /** The overlap that two random subspaces of these dimensions have on average. */
  readonly byChance: number;
}

/** How the changes that two LoRA files make to the weight of one layer, ΔW₁ and ΔW₂, get into each other's way. */
export interface ModuleInterference {
  /** Kohya's name. */
  readonly name: string;
  /** Dimensions of what ΔW₁ and ΔW₂ read and write; 0 where one changes nothing. */
  readonly ranks: readonly [number, number];
  /** Of the row spaces: what the two read of the layer's input. */
  readonly rows: SubspaceOverlap;
  /** Of the column spaces: what the two write to the layer's output. */
  readonly columns: SubspaceOverlap;
  /** ⟨ΔW₁, ΔW₂⟩ / (‖ΔW₁‖·‖ΔW₂‖), from −1 (they cancel) over 0 to 1 (same direction); 0 where one changes nothing. */
  readonly cosine: number;
  /** Frobenius norms ‖ΔW₁‖ and ‖ΔW₂‖. */
  readonly norms: readonly [number, number];
  /** ‖ΔW₂·V₁‖ and ‖ΔW₁·V₂‖, V an orthonormal basis of the row space: how strongly the other answers to what this one reads. */
  readonly foreign: readonly [number, number];
}

/**
 * Compares two modules of one layer in f64. Products of the factors are never made; of a convolution a row is a whole kernel, all its places and channels. Directions
 * whose singular value is below 1e-6 of the largest count as none.
 *
 * @throws {RangeError} If a weight is NaN or infinite, or the modules are for layers of different sizes.
 * @see Björck, Golub 1973, Numerical methods for computing angles between linear subspaces, https://doi.org/10.2307/2005662
 */
export function moduleInterference(one: LoraFileModule, two: LoraFileModule): ModuleInterference {
  const sizes = [one, two].map(({ down, up }) => [up.shape[0], ...down.shape.slice(1)].join("×"));
  if (sizes[0] !== sizes[1]) {
    throw new RangeError(`${one.name} is for a layer of ${sizes[0]} in the first and of ${sizes[1]} in the second`);
  }
  const [a, b] = [change(one, "first"), change(two, "second")];
  const norms = [a, b].map(({ values }) => Math.hypot(...values)) as [number, number];
  const ranks = [a.values.length, b.values.length] as [number, number];
  const inSize = one.down.values.length / one.down.shape[0], outSize = one.up.shape[0];
  const common = { name: one.name, ranks, norms };
  if (ranks.includes(0)) {
    const none = { overlap: 0, largestCosine: 0, byChance: 0 };
    return { ...common, rows: none, columns: none, cosine: 0, foreign: [0, 0] };
  }
  const rows = basisProducts(a.spaces, b.spaces, "rows"), columns = basisProducts(a.spaces, b.spaces, "columns");
  let inner = 0, foreign1 = 0, foreign2 = 0;
  for (const [i, value1] of a.values.entries()) {
    for (const [j, value2] of b.values.entries()) {
      const row = rows.get(i, j);
      inner += value1 * value2 * row * columns.get(i, j);
      foreign1 += (value2 * row) ** 2;
      foreign2 += (value1 * row) ** 2;
    }
  }
  return {
    ...common,
    rows: overlapOf(rows, inSize),
    columns: overlapOf(columns, outSize),
    cosine: Math.max(-1, Math.min(1, inner * a.sign * b.sign / (norms[0] * norms[1]))),
    foreign: [Math.sqrt(foreign1), Math.sqrt(foreign2)],
  };
}

/** A module's `alpha / rank · up · down`: its singular values, the spaces that it reads and writes, and whether alpha turns it around. */
function change(module: LoraFileModule, which: string) {
  if ([module.down, module.up].some(({ values }) => !values.every(Number.isFinite)) || !Number.isFinite(module.alpha)) {
    throw new RangeError(`${module.name} holds NaN or infinite numbers in the ${which}`);
  }
  const scale = module.alpha / module.down.shape[0], spaces = factorSpaces(module);
  return { values: spaces.values.map((value) => value * Math.abs(scale)), spaces, sign: Math.sign(scale) };
}

/** @param cosines Products of two orthonormal bases' vectors; its singular values are the cosines of the principal angles. */
function overlapOf(cosines: Matrix, size: number): SubspaceOverlap {
  const [fewer, more] = [cosines.rows, cosines.columns].toSorted((a, b) => a - b);
  // The squares of the singular values: their sum is that of all squares.
  const squares = cosines.rows === fewer ? cosines.mmul(cosines.transpose()) : cosines.transpose().mmul(cosines);
  const largest = Math.max(...new EigenvalueDecomposition(squares, { assumeSymmetric: true }).realEigenvalues);
  // Rounding can leave a little more than 1.
  return {
    overlap: Math.min(1, squares.trace() / fewer),
    largestCosine: Math.sqrt(Math.min(1, largest)),
    byChance: more / size,
  };
}

/** Modules that lie together: a block, a part of the model, or all. */
export interface GroupInterference {
  readonly name: string;
  readonly modules: number;
  /** Those in which one file changes nothing: they have no angles, and do not count in the means. */
  readonly withoutEffect: number;
  /** Means over the modules; `null` where none counts. */
  readonly rows: number | null;
  readonly columns: number | null;
  readonly rowsByChance: number | null;
  readonly columnsByChance: number | null;
  /** Largest cosines of all modules. */
  readonly largestRowCosine: number;
  readonly largestColumnCosine: number;
  /** ⟨ΔW₁, ΔW₂⟩ / (‖ΔW₁‖·‖ΔW₂‖) of all the weights together; `null` where one file changes nothing. */
  readonly cosine: number | null;
  /** √(Σ‖ΔW₂·V₁‖² / Σ‖ΔW₁‖²), and with 1 and 2 exchanged; `null` where the divisor is 0. */
  readonly crosstalk: readonly [number | null, number | null];
}

/** Sums modules up. */
export function groupInterference(name: string, modules: readonly ModuleInterference[]): GroupInterference {
  const counted = modules.filter(({ ranks }) => !ranks.includes(0));
  const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0);
  const mean = (of: (module: ModuleInterference) => number) =>
    counted.length === 0 ? null : sum(counted.map(of)) / counted.length;
  const most = (of: (module: ModuleInterference) => number) =>
    counted.map(of).reduce((largest, each) => Math.max(largest, each), 0);
  const ratio = (above: number, below: number) => below === 0 ? null : above / below;
  const norm = (of: (module: ModuleInterference) => number) => Math.sqrt(sum(modules.map((each) => of(each) ** 2)));
  const norms = [norm(({ norms }) => norms[0]), norm(({ norms }) => norms[1])];
  return {
    name,
    modules: modules.length,
    withoutEffect: modules.length - counted.length,
    rows: mean(({ rows }) => rows.overlap),
    columns: mean(({ columns }) => columns.overlap),
    rowsByChance: mean(({ rows }) => rows.byChance),
    columnsByChance: mean(({ columns }) => columns.byChance),
    largestRowCosine: most(({ rows }) => rows.largestCosine),
    largestColumnCosine: most(({ columns }) => columns.largestCosine),
    cosine: ratio(sum(modules.map(({ cosine, norms: [a, b] }) => cosine * a * b)), norms[0] * norms[1]),
    crosstalk: [
      ratio(norm(({ foreign }) => foreign[0]), norms[0]),
      ratio(norm(({ foreign }) => foreign[1]), norms[1]),
    ],
  };
}
