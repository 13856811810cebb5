import { deepEqual } from "node:assert/strict";
import { wantedLimits } from "./adapter.ts";

Deno.test("a device is asked for the adapter's limits, those that are no limits as far as they can be said", () => {
  const limits = {
    maxBufferSize: 2 ** 64,
    maxStorageBufferBindingSize: 2 ** 32 - 1,
    maxStorageBuffersPerShaderStage: 16,
    maxComputeWorkgroupStorageSize: 32768,
    maxComputeInvocationsPerWorkgroup: 1024,
    maxComputeWorkgroupSizeX: 1024,
    maxComputeWorkgroupsPerDimension: 65535,
  };
  // Web IDL's [EnforceRange] unsigned long long ends there.
  deepEqual(wantedLimits(limits), { ...limits, maxBufferSize: 2 ** 53 - 1 });
});
