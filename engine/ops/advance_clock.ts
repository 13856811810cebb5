import { defineOp } from "../graph/op.ts";
import { haltedType, scalarKernel } from "./kernels/update.ts";

/**
 * Counts an optimizer's updates: adds 1 to a variable `[1]`, unless the step is halted, see `haltUnlessFinite`.
 *
 * On the device, since the host learns only later whether a step was left out.
 */
export const advanceClock = defineOp({
  name: "advance_clock",
  inputs: ["clock", "halted"],
  overwrites: 1,
  type: ({ clock }) => ({ shape: clock.shape, dtype: "f32" }),
  kernel: ({ inputs }) => scalarKernel(inputs, "clock[0] += 1.0;"),
  samples: [
    { inputs: { clock: [1], halted: haltedType }, values: { halted: [0] }, expect: ([clock]) => [clock + 1] },
    { inputs: { clock: [1], halted: haltedType }, values: { halted: [1] }, expect: ([clock]) => [clock] },
  ],
});
