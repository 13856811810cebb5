import type { KernelTarget } from "../graph/kernel.ts";
import type { BufferLimits } from "../plan/limits.ts";

/** What a report says of the adapter that a run used; its name is its own, such as `llvmpipe (LLVM 15.0.6, 256 bits)`. */
export interface AdapterFacts extends BufferLimits {
  readonly vendor: string;
  readonly architecture: string;
  readonly target: KernelTarget;
}

/** No WebGPU adapter can be had: callers show the message and leave with exit code 2. */
export class NoAdapterError extends Error {
  override name = "NoAdapterError";
}

async function requestAdapter(): Promise<GPUAdapter> {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (adapter) return adapter;
  throw new NoAdapterError(
    "Cannot find a WebGPU adapter: no graphics driver with Vulkan, Metal or Direct3D 12 answered. " +
      "Install your card's driver; without a card, on Debian or Ubuntu: apt-get install mesa-vulkan-drivers",
  );
}

/** What an adapter has to give, known before there is a device. */
export interface AdapterLimits extends BufferLimits {
  /** Whether it is a CPU that stands in for a GPU: its memory is the machine's. */
  readonly cpu: boolean;
  /** Whether it has shader-f16. */
  readonly f16: boolean;
}

function limitsOf({ info, limits, features }: GPUAdapter): AdapterLimits {
  const name = info.description || info.device || info.vendor || "unnamed adapter";
  return {
    name,
    f16: features.has("shader-f16"),
    cpu: /llvmpipe|lavapipe|swiftshader|software|basic render/i.test(name),
    maxBindingBytes: limits.maxStorageBufferBindingSize,
    maxBufferBytes: limits.maxBufferSize,
  };
}

/**
 * Throws unless products in f16 are of use on an adapter.
 *
 * @throws {RangeError} If it has no shader-f16, or is a CPU.
 */
export function checkF16Arithmetic({ name, cpu, f16 }: Pick<AdapterLimits, "name" | "cpu" | "f16">): void {
  if (!cpu && f16) return;
  throw new RangeError(
    `Cannot multiply in f16 on ${name}: ${
      cpu ? "it is a CPU, which takes longer for that than for f32" : "the adapter does not offer shader-f16"
    }. Leave out f16Arithmetic (--f16_arithmetic), or use a card whose driver offers it`,
  );
}

/**
 * What the machine's adapter offers, above all how large its buffers and bindings are; no device is made of it.
 *
 * @throws {NoAdapterError} If there is none.
 */
export async function adapterLimits(): Promise<AdapterLimits> {
  return limitsOf(await requestAdapter());
}

const raisedLimits = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupsPerDimension",
] as const;

/**
 * Asks for the adapter and for a device with all that the adapter offers: WebGPU's default limits are far below any card's.
 *
 * @throws {NoAdapterError} If there is none, saying what to install.
 */
export async function requestDevice(): Promise<{ gpu: GPUDevice; facts: AdapterFacts }> {
  const adapter = await requestAdapter(), { info, limits } = adapter, { name, cpu, f16, ...bytes } = limitsOf(adapter);
  const wanted: string[] = f16 ? ["shader-f16"] : [];
  if (adapter.features.has("timestamp-query")) wanted.push("timestamp-query");
  const requiredLimits = Object.fromEntries(raisedLimits.map((limit) => [limit, limits[limit]]));
  const request = (features: string[]) =>
    adapter.requestDevice({ requiredFeatures: features as GPUFeatureName[], requiredLimits });
  const { gpu, subgroups } = await request([...wanted, "subgroups"])
    // lavapipe leaves "subgroups" out of its list and grants it all the same, so asking is the only way to know.
    .then((gpu) => ({ gpu, subgroups: true }), async () => ({ gpu: await request(wanted), subgroups: false }));
  const sizes = info as unknown as { subgroupMinSize?: number; subgroupMaxSize?: number };
  const fixed = subgroups && sizes.subgroupMinSize === sizes.subgroupMaxSize ? sizes.subgroupMinSize ?? 0 : 0;
  return {
    gpu,
    facts: {
      name,
      vendor: info.vendor,
      architecture: info.architecture,
      ...bytes,
      target: {
        cpu,
        subgroupSize: fixed,
        f16,
        maxInvocations: limits.maxComputeInvocationsPerWorkgroup,
        maxWorkgroupStorageBytes: limits.maxComputeWorkgroupStorageSize,
        maxWorkgroupsPerDimension: limits.maxComputeWorkgroupsPerDimension,
        maxStorageBuffers: limits.maxStorageBuffersPerShaderStage,
      },
    },
  };
}
