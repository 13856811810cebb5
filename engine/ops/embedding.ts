import { defineOp } from "../graph/op.ts";
import { bindingAlignmentBytes, guaranteedBindingBytes, type Tensor, window } from "../graph/tensor.ts";
import { bytesPerElement, elementCount, type TensorType, typeText } from "../graph/types.ts";
import { buffers, Stored } from "./kernels/storage.ts";
import { divide, grid, modulo, vectorWidth } from "./kernels/wgsl.ts";

const partNames = ["table", "table2?", "table3?", "table4?"] as const;

/**
 * Rows of a table by their numbers, from the parts that lie one behind another in it; see `embedding`.
 *
 * All parts have the first one's number of rows, but the last, which may have fewer.
 */
export const embeddingOfParts = defineOp({
  name: "embedding",
  narrows: 1,
  inputs: ["ids", ...partNames],
  type: ({ ids, ...tables }) => {
    for (const table of partsOf(tables)) {
      if (table.shape.length !== 2 || table.shape[1] !== tables.table.shape[1]) {
        throw new TypeError(`table is ${typeText(table)}, wanted [count, c]`);
      }
    }
    if (ids.dtype !== "i32" && ids.dtype !== "u32") throw new TypeError(`ids are ${typeText(ids)}, wanted i32 or u32`);
    return { shape: [...ids.shape, tables.table.shape[1]], dtype: "f32" };
  },
  kernel: ({ inputs: { ids, ...tables }, output, target }) => {
    const parts = partsOf(tables), [{ shape: [rows, size] }] = parts;
    const count = parts.reduce((sum, { shape }) => sum + shape[0], 0);
    const width = vectorWidth(size), units = size / width;
    const elements = elementCount(output.shape) / width, lines = grid(elements, target, 128);
    const numbers = new Stored("ids", ids, 1, target), result = new Stored("result", output, width, target);
    const stored = parts.map((part, i) => new Stored(`table_${i}`, part, width, target));
    const reads = stored.map((part, i) => {
      const read = result.store("i", part.load(`(id - ${i * rows}u) * UNITS + unit`));
      return i === parts.length - 1 ? `{ ${read} }` : `if (id < ${(i + 1) * rows}u) { ${read} }`;
    });
    return {
      workgroups: lines.workgroups,
      wgsl: `${buffers([numbers, ...stored], [result])}
const COUNT = ${elements}u;
const ROWS = ${count}u;
const UNITS = ${units}u;

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
  let id = min(u32(${numbers.load(divide("i", units, elements))}), ROWS - 1u);
  let unit = ${modulo("i", units, elements)};
  ${reads.join(" else ")}
}
`,
    };
  },
  samples: [
    { inputs: { ids: { shape: [3], dtype: "i32" }, table: [33, 7] }, integersBelow: 33, expect: rowsOf(7) },
    {
      inputs: { ids: { shape: [2, 7], dtype: "u32" }, table: { shape: [77, 8], dtype: "f16" } },
      integersBelow: 77,
      expect: rowsOf(8),
    },
    {
      inputs: { ids: { shape: [33], dtype: "i32" }, table: [7, 8], table2: [7, 8], table3: [3, 8] },
      integersBelow: 17,
      expect: rowsOf(8),
    },
  ],
});

/**
 * Rows of a table, by their numbers; it has no gradient.
 *
 * A table larger than what every adapter binds, such as CLIP's in f32 (152 MB), is bound in parts.
 *
 * @param table `[count, c]`
 * @param ids i32 or u32, `[...]`, each below `count`: whoever feeds them checks that.
 * @returns `[..., c]`, f32
 * @throws {RangeError} If the table is larger than four bindings.
 */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  const [count, size] = table.shape, rowBytes = size * bytesPerElement[table.dtype];
  if (table.shape.length !== 2 || count * rowBytes <= guaranteedBindingBytes) {
    return embeddingOfParts(ids, table, null, null, null);
  }
  // A part starts where a binding may start.
  let step = 1;
  while (step * rowBytes % bindingAlignmentBytes !== 0) step *= 2;
  const rows = Math.floor(guaranteedBindingBytes / rowBytes / step) * step, parts: Tensor[] = [];
  for (let first = 0; first < count; first += rows) {
    parts.push(window(table, first * size, [Math.min(rows, count - first), size]));
  }
  if (parts.length > partNames.length) {
    throw new RangeError(
      `Cannot look up rows: table ${typeText(table)} takes ${count * rowBytes} bytes, ` +
        `at most ${partNames.length} bindings of ${guaranteedBindingBytes} are supported`,
    );
  }
  return embeddingOfParts(ids, parts[0], parts[1] ?? null, parts[2] ?? null, parts[3] ?? null);
}

function partsOf(tables: Readonly<Record<string, TensorType | null>>): TensorType[] {
  return Object.values(tables).filter((table) => table !== null);
}

function rowsOf(size: number) {
  return (ids: number[], ...tables: (number[] | null)[]) => {
    const table = tables.flatMap((part) => part ?? []);
    return ids.flatMap((id) => table.slice(id * size, id * size + size));
  };
}
