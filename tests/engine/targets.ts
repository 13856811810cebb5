import type { KernelTarget } from "../../engine/mod.ts";

/** Mesa's CPU driver as it describes itself. */
export const cpuTarget: KernelTarget = {
  cpu: true,
  subgroupSize: 8,
  f16: true,
  maxInvocations: 1024,
  maxWorkgroupStorageBytes: 32768,
  maxWorkgroupsPerDimension: 65535,
  maxStorageBuffers: 48,
};

/** A card that offers WebGPU's defaults alone. */
export const cardTarget: KernelTarget = {
  cpu: false,
  subgroupSize: 0,
  f16: false,
  maxInvocations: 256,
  maxWorkgroupStorageBytes: 16384,
  maxWorkgroupsPerDimension: 65535,
  maxStorageBuffers: 8,
};
