/**
 * Makes the machine's adapter the least that WebGPU guarantees: its default limits, no 16-bit numbers, no subgroups, and no CPU's name.
 *
 * @module
 */
const limits: Readonly<Record<string, number>> = {
  maxBufferSize: 2 ** 28,
  maxStorageBufferBindingSize: 2 ** 27,
  maxStorageBuffersPerShaderStage: 8,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupsPerDimension: 65535,
};
const { gpu } = navigator;

async function requestAdapter(options?: GPURequestAdapterOptions): Promise<unknown> {
  const adapter = await gpu.requestAdapter(options);
  return adapter && {
    info: { description: "the smallest adapter", vendor: "", architecture: "" },
    features: new Set(),
    limits,
    requestDevice: async ({ requiredFeatures = [], requiredLimits = {} }: GPUDeviceDescriptor = {}) => {
      if ([...requiredFeatures].length > 0) throw new TypeError(`the smallest adapter has no ${requiredFeatures}`);
      for (const [name, value] of Object.entries(requiredLimits)) {
        if (!(value! <= limits[name])) throw new TypeError(`the smallest adapter has no ${name} of ${value}`);
      }
      // The device keeps to these limits, whatever the adapter has.
      return await adapter.requestDevice();
    },
  };
}

Object.defineProperty(navigator, "gpu", { value: { requestAdapter }, configurable: true });
