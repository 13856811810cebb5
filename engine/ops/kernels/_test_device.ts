import type { Kernel, KernelTarget } from "../../graph/kernel.ts";

/** The adapter's device with all that kernels may use, and the targets to test: the adapter's own and one as a GPU would be. */
export async function testDevice(): Promise<TestDevice> {
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter) throw new Error("Cannot test kernels: there is no WebGPU adapter; install mesa-vulkan-drivers");
  const { limits, info } = adapter, f16 = adapter.features.has("shader-f16");
  const device = await adapter.requestDevice({
    requiredFeatures: [...f16 ? ["shader-f16" as const] : [], "subgroups" as GPUFeatureName],
    requiredLimits: {
      maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
      maxBufferSize: limits.maxBufferSize,
      maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
    },
  });
  const { subgroupMinSize, subgroupMaxSize } = info as unknown as { subgroupMinSize: number; subgroupMaxSize: number };
  const gpu: KernelTarget = {
    cpu: false,
    subgroupSize: 0,
    f16,
    maxInvocations: 256,
    maxWorkgroupStorageBytes: limits.maxComputeWorkgroupStorageSize,
    maxWorkgroupsPerDimension: 65535,
    maxStorageBuffers: limits.maxStorageBuffersPerShaderStage,
  };
  const targets = [gpu];
  if (subgroupMinSize === subgroupMaxSize) targets.push({ ...gpu, cpu: true, subgroupSize: subgroupMinSize });
  return { device, targets };
}

/** A device and the kernel targets that its adapter can run. */
export interface TestDevice {
  readonly device: GPUDevice;
  readonly targets: readonly KernelTarget[];
}

/** Runs a kernel once, with its second dispatch if it has one, on inputs, f32 or (as bits) f16, and reads its f32 outputs of the given element counts back. */
export async function runKernel(
  device: GPUDevice,
  kernel: Kernel,
  inputs: readonly (Float32Array | Uint16Array)[],
  outputCounts: readonly number[],
): Promise<Float32Array[]> {
  device.pushErrorScope("validation");
  const storage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const buffers = inputs.map((data) => {
    const bytes = new Uint8Array(Math.ceil(data.byteLength / 16) * 16);
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    const buffer = device.createBuffer({ size: bytes.length, usage: storage });
    device.queue.writeBuffer(buffer, 0, bytes);
    return buffer;
  });
  const outputs = outputCounts.map((count) => {
    const buffer = device.createBuffer({ size: Math.ceil(count / 4) * 16, usage: storage });
    device.queue.writeBuffer(buffer, 0, new Float32Array(buffer.size / 4).fill(NaN));
    return buffer;
  });
  const bound = [...buffers, ...outputs], encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  const dispatch = ({ wgsl, workgroups }: Pick<Kernel, "wgsl" | "workgroups">, all: readonly GPUBuffer[]) => {
    const compute = { module: device.createShaderModule({ code: wgsl }) };
    const pipeline = device.createComputePipeline({ layout: "auto", compute });
    const entries = all.map((buffer, binding) => ({ binding, resource: { buffer } }));
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    pass.dispatchWorkgroups(...workgroups);
  };
  const { finish } = kernel;
  if (finish) {
    const scratch = device.createBuffer({ size: finish.scratchBytes, usage: storage });
    device.queue.writeBuffer(scratch, 0, new Float32Array(finish.scratchBytes / 4).fill(NaN));
    dispatch(kernel, [...finish.firstBinds.map((place) => bound[place]), scratch]);
    dispatch(finish, [scratch, ...finish.binds.map((place) => bound[place])]);
    buffers.push(scratch);
  } else dispatch(kernel, bound);
  pass.end();
  const readable = outputs.map((buffer) => {
    const copy = device.createBuffer({ size: buffer.size, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
    encoder.copyBufferToBuffer(buffer, 0, copy, 0, buffer.size);
    return copy;
  });
  device.queue.submit([encoder.finish()]);
  const error = await device.popErrorScope();
  if (error) throw new Error(`Cannot run kernel: ${error.message}\n${kernel.wgsl}`);
  const results = [];
  for (const [i, buffer] of readable.entries()) {
    await buffer.mapAsync(GPUMapMode.READ);
    results.push(new Float32Array(buffer.getMappedRange().slice(0)).slice(0, outputCounts[i]));
  }
  for (const buffer of [...buffers, ...outputs, ...readable]) buffer.destroy();
  return results;
}

/** Fixed numbers in [-1, 1) that f16 holds exactly: eighths. */
export function testValues(count: number, seed: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count }, (_, i) => {
    const bits = Math.imul(i + 1, 0x9e3779b9) ^ Math.imul(seed + 1, 0x85ebca6b);
    return ((Math.imul(bits ^ (bits >>> 15), 0xc2b2ae35) >>> 28) - 8) / 8;
  });
}

/** The bits of numbers as f16. */
export function toF16(values: Float32Array): Uint16Array {
  return new Uint16Array(new Float16Array(values).buffer);
}
