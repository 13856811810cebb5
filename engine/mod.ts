/** Static-graph tensors on WebGPU: trace, differentiate, plan, compile, replay. The engine's only door. */
export * from "./graph/types.ts";
export type { Kernel, KernelTarget } from "./graph/kernel.ts";
export {
  defineMultiOp,
  defineOp,
  type Gradients,
  type OpDefinition,
  type OpFunction,
  type Sample,
} from "./graph/op.ts";
export { input, pack, reshape, Tensor, Variable, window } from "./graph/tensor.ts";
export { currentScope, scoped } from "./graph/scope.ts";
export { gradients } from "./autodiff/gradients.ts";
export { plan, type Program, programText } from "./plan/plan.ts";
export { type AdapterFacts, NoAdapterError } from "./gpu/adapter.ts";
export { Device, DeviceLostError, type HostArray } from "./gpu/device.ts";
export { CompiledProgram, Recorder } from "./gpu/compiled_program.ts";
export { add } from "./ops/add.ts";
export { broadcastTo } from "./ops/broadcast_to.ts";
export { fill } from "./ops/fill.ts";
export { multiply } from "./ops/multiply.ts";
export { mean, reduceSum, sum, sumTo } from "./ops/reduce_sum.ts";
export { scale } from "./ops/scale.ts";
export { linear } from "./ops/linear.ts";
export { matmul } from "./ops/matmul.ts";
export { attention } from "./ops/attention.ts";
export { conv2d } from "./ops/conv2d.ts";
export { accumulate } from "./ops/accumulate.ts";
export { type AdamWAttributes, adamwStep } from "./ops/adamw_step.ts";
export { clipFactor } from "./ops/clip_factor.ts";
export { maskDiagonal } from "./ops/mask_diagonal.ts";
