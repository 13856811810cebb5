/**
 * Two ops of which one kernel does both: see `kernelMaking`.
 *
 * @module
 */
import { defineOp } from "../../engine/graph/op.ts";
import { elementCount } from "../../engine/mod.ts";
import { elementwise } from "../../engine/ops/kernels/elementwise.ts";

/** 2x. */
export const twice = defineOp({
  name: "twice",
  inputs: ["x"],
  type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
  kernel: elementwise("2.0 * x"),
  samples: [],
});

/** x + 10·doubled, of which one kernel makes `doubled` = 2x as well. */
export const together = defineOp({
  name: "together",
  inputs: ["x", "doubled"],
  type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
  kernel: elementwise("x + 10.0 * doubled"),
  kernelMaking: (name, producer, { output: { shape } }) =>
    name === "doubled" && producer === twice.definition
      ? {
        workgroups: [Math.ceil(elementCount(shape) / 64), 1, 1],
        wgsl: `@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> doubled: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;
// Keeps the kernel apart from others that have none.
var<workgroup> made: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3u, @builtin(local_invocation_index) local: u32) {
  let i = at.x;
  if (i >= ${elementCount(shape)}u) { return; }
  made[local] = 2.0 * x[i];
  doubled[i] = made[local];
  result[i] = x[i] + 10.0 * made[local];
}
`,
      }
      : null,
  samples: [],
});
