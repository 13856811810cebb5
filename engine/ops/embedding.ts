import { defineOp } from "../graph/op.ts";
import { elementCount, typeText } from "../graph/types.ts";
import { binding, divide, enables, grid, modulo, vectorType, vectorWidth } from "./kernels/wgsl.ts";

/**
 * Rows of a table, by their numbers; it has no gradient.
 *
 * `table` is `[count, c]`; `ids` is i32 or u32, `[...]`, each below `count`: whoever feeds them checks that.
 *
 * @returns `[..., c]`, f32
 */
export const embedding = defineOp({
  name: "embedding",
  inputs: ["table", "ids"],
  type: ({ table, ids }) => {
    if (table.shape.length !== 2) throw new TypeError(`table is ${typeText(table)}, wanted [count, c]`);
    if (ids.dtype !== "i32" && ids.dtype !== "u32") throw new TypeError(`ids are ${typeText(ids)}, wanted i32 or u32`);
    return { shape: [...ids.shape, table.shape[1]], dtype: "f32" };
  },
  kernel: ({ inputs: { table, ids }, output, target }) => {
    const [count, size] = table.shape, width = vectorWidth(size), units = size / width;
    const elements = elementCount(output.shape) / width, lines = grid(elements, target, 128);
    return {
      workgroups: lines.workgroups,
      wgsl: `${enables([table])}
${binding(0, "table", vectorType(table.dtype, width), "read")}
${binding(1, "ids", ids.dtype, "read")}
${binding(2, "result", vectorType("f32", width), "read_write")}
const COUNT = ${elements}u;
const ROWS = ${count}u;
const UNITS = ${units}u;

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
  let id = min(u32(ids[${divide("i", units, elements)}]), ROWS - 1u);
  result[i] = ${vectorType("f32", width)}(table[id * UNITS + ${modulo("i", units, elements)}]);
}
`,
    };
  },
  samples: [
    { inputs: { table: [33, 7], ids: { shape: [3], dtype: "i32" } }, integersBelow: 33, expect: rows(7) },
    {
      inputs: { table: { shape: [77, 8], dtype: "f16" }, ids: { shape: [2, 7], dtype: "u32" } },
      integersBelow: 77,
      expect: rows(8),
    },
  ],
});

function rows(size: number) {
  return (table: number[], ids: number[]) => ids.flatMap((id) => table.slice(id * size, id * size + size));
}
