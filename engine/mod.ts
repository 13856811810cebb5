/** Static-graph tensors on WebGPU: trace, differentiate, plan, compile, replay. The engine's only door. */
export * from "./graph/types.ts";
export { fromQ8, toQ8 } from "./graph/q8.ts";
export type { Kernel, KernelTarget, WorkgroupTileShape } from "./graph/kernel.ts";
export {
  defineMultiOp,
  defineOp,
  type Gradients,
  observing,
  type OpDefinition,
  type OpFunction,
  type Sample,
} from "./graph/op.ts";
export { guaranteedBindingBytes, input, type Node, pack, reshape, Tensor, Variable, window } from "./graph/tensor.ts";
export { storingActivations } from "./graph/activations.ts";
export { checkpointed } from "./graph/checkpoint.ts";
export { currentScope, scoped } from "./graph/scope.ts";
export { dependsOn, type GradientOptions, gradients } from "./autodiff/gradients.ts";
export { type BufferLimits, checkLimits } from "./plan/limits.ts";
export { plan, type PlanOptions, pooledBytes, type Program, programText, variableBytes } from "./plan/plan.ts";
export { type AdapterFacts, adapterLimits, checkF16Arithmetic, NoAdapterError } from "./gpu/adapter.ts";
export { Device, DeviceLostError, type HostArray, OutOfMemoryError } from "./gpu/device.ts";
export { CompiledProgram, Recorder } from "./gpu/compiled_program.ts";
export { countDispatches, dispatchesOf } from "./gpu/dispatches.ts";
export { Profiler, type ProgramTimes } from "./gpu/profiler.ts";
export { absMax } from "./ops/abs_max.ts";
export { SlotPool } from "./gpu/slot_pool.ts";
export { add } from "./ops/add.ts";
export { broadcastTo } from "./ops/broadcast_to.ts";
export { fill } from "./ops/fill.ts";
export { multiply } from "./ops/multiply.ts";
export { mean, reduceSum, sum, sumTo } from "./ops/reduce_sum.ts";
export { scale } from "./ops/scale.ts";
export { tilesByCounts } from "./ops/kernels/workgroup_choice.ts";
export { linear } from "./ops/linear.ts";
export { matmul } from "./ops/matmul.ts";
export { attention } from "./ops/attention.ts";
export { conv2d } from "./ops/conv2d.ts";
export { accumulate } from "./ops/accumulate.ts";
export { abs } from "./ops/abs.ts";
export { adafactorMeans, adafactorMove, adafactorScales, adafactorUpdate } from "./ops/adafactor.ts";
export { type FactoredRange, factoredWords } from "./ops/kernels/factored.ts";
export { movingMean } from "./ops/moving_mean.ts";
export { adamw8bitSizes, adamw8bitSmallStep, adamw8bitStep, type BlockRange, blockWords } from "./ops/adamw_8bit.ts";
export { type AdamWAttributes, adamwStep } from "./ops/adamw_step.ts";
export { advanceClock } from "./ops/advance_clock.ts";
export { lionStep } from "./ops/lion_step.ts";
export { sgdStep } from "./ops/sgd_step.ts";
export { sign } from "./ops/sign.ts";
export { adaptiveScalars, dadaptStep, type DadaptStepAttributes } from "./ops/dadapt_step.ts";
export { dadaptEstimate, type DadaptEstimateAttributes } from "./ops/dadapt_estimate.ts";
export { dadaptAdamMoments, dadaptAdamMove } from "./ops/dadapt_adam.ts";
export { dadaptAdanMoments, dadaptAdanMove } from "./ops/dadapt_adan.ts";
export { adagradFirstSquares, dadaptDualAveraging, dadaptFirstNorm, dadaptSums } from "./ops/dadapt_dual_averaging.ts";
export { dadaptLionStep } from "./ops/dadapt_lion_step.ts";
export { prodigyEstimate, prodigyMoments, prodigyMove } from "./ops/prodigy.ts";
export { clipFactor } from "./ops/clip_factor.ts";
export { maskDiagonal } from "./ops/mask_diagonal.ts";
export { cast } from "./ops/cast.ts";
export { clamp, type ClampAttributes } from "./ops/clamp.ts";
export { concat } from "./ops/concat.ts";
export { divide } from "./ops/divide.ts";
export { embedding } from "./ops/embedding.ts";
export { exp } from "./ops/exp.ts";
export { geglu } from "./ops/geglu.ts";
export { gelu } from "./ops/gelu.ts";
export { greater } from "./ops/greater.ts";
export { groupNorm, type GroupNormAttributes } from "./ops/group_norm.ts";
export { haltUnlessFinite } from "./ops/halt_unless_finite.ts";
export { layerNorm, type LayerNormAttributes } from "./ops/layer_norm.ts";
export { limitLowRankNorms, type LowRankRange, lowRankWords } from "./ops/low_rank_norms.ts";
export { log } from "./ops/log.ts";
export { logSoftmax } from "./ops/log_softmax.ts";
export { maximum } from "./ops/maximum.ts";
export { minimum } from "./ops/minimum.ts";
export { pad, type PadAttributes } from "./ops/pad.ts";
export { permute } from "./ops/permute.ts";
export { quickGelu } from "./ops/quick_gelu.ts";
export { randomNormal } from "./ops/random_normal.ts";
export { randomUniform } from "./ops/random_uniform.ts";
export { select } from "./ops/select.ts";
export { silu } from "./ops/silu.ts";
export { slice, type SliceAttributes } from "./ops/slice.ts";
export { softmax } from "./ops/softmax.ts";
export { sqrt } from "./ops/sqrt.ts";
export { square } from "./ops/square.ts";
export { subtract } from "./ops/subtract.ts";
export { timestepEmbedding, type TimestepEmbeddingAttributes } from "./ops/timestep_embedding.ts";
export { upsampleBilinear } from "./ops/upsample_bilinear.ts";
export { upsampleNearest } from "./ops/upsample_nearest.ts";
