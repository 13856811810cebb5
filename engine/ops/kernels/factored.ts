/**
 * Fields of a tensor's row in the table that Adafactor's ops read: u32 `[tensors, 8]`, sorted by offset. A tensor lies as `[rows, columns, matrices]`: many
 * matrices side by side, each with a running mean for every row and every column.
 */
export const factoredFields = {
  /** Element where the tensor begins in its network's flat weights; a multiple of 64. */
  offset: 0,
  /** Elements. */
  size: 1,
  matrices: 2,
  rows: 3,
  columns: 4,
  /** Element where the tensor's row means begin; they lie as `[rows, matrices]`. */
  rowOffset: 5,
  /** Element where the column means begin, `[columns, matrices]`. */
  columnOffset: 6,
} as const;

/** Words of one row of the table. */
export const factoredWords = 8;

/** Tensors of a network that one dispatch updates; the windows of weights and gradient begin where the first does. */
export interface FactoredRange {
  /** Row of the table, and how many rows. */
  readonly first: number;
  readonly count: number;
  /** Element of the flat weights where the windows begin. */
  readonly start: number;
}

/** WGSL that reads the table, bound as `table`: `field(tensor, place)`. */
export const fieldFunction = `
fn field(tensor: u32, at: u32) -> u32 { return table[tensor * ${factoredWords}u + at]; }
`;

/** WGSL of `tensorOf(value, place)`: the last tensor of the range whose field is not above a value. */
export function searchFunction({ first, count }: FactoredRange): string {
  return `
fn tensorOf(value: u32, at: u32) -> u32 {
  var low = ${first}u;
  var high = ${first + count}u;
  while (high - low > 1u) {
    let middle = (low + high) / 2u;
    if (field(middle, at) <= value) { low = middle; } else { high = middle; }
  }
  return low;
}
`;
}

const { matrices, rows, columns, rowOffset, columnOffset } = factoredFields;

/**
 * WGSL of `updateOf(tensor, element, g, mean)`: a gradient over the root of its approximated square, `g / √(row / mean · column)`, from the means bound as
 * `rows` and `columns`. `mean` is that of a lone matrix's row means; those of several side by side are computed here.
 */
export const updateFunction = `
fn updateOf(tensor: u32, element: u32, g: f32, mean: f32) -> f32 {
  let group = field(tensor, ${matrices}u);
  let matrix = element % group;
  let cell = element / group;
  let width = field(tensor, ${columns}u);
  let first = field(tensor, ${rowOffset}u) + matrix;
  let row = rows[first + cell / width * group];
  let column = columns[field(tensor, ${columnOffset}u) + cell % width * group + matrix];
  var own = mean;
  if (group > 1u) {
    let count = field(tensor, ${rows}u);
    own = 0.0;
    for (var r = 0u; r < count; r++) { own += rows[first + r * group]; }
    own /= f32(count);
  }
  return g * inverseSqrt(row / own) * inverseSqrt(column);
}
`;
