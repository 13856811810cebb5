import { adapterLimits, checkLimits, type Program } from "../../engine/mod.ts";

/**
 * Checks that the machine's adapter can hold and bind what programs need, before anything is loaded; nothing is put on it. How much memory a GPU has, WebGPU
 * does not tell: only where the CPU stands in for one is the plan compared with it.
 *
 * @param peakBytes What is on the device at one time, at most.
 * @throws {RangeError} If a tensor is too large, see `checkLimits`, or the memory too small.
 * @throws {NoAdapterError} If there is no adapter.
 */
export async function checkOnAdapter(programs: readonly Program[], peakBytes: number): Promise<void> {
  const limits = await adapterLimits();
  for (const program of programs) checkLimits(program, limits);
  if (limits.cpu) checkMemory(peakBytes, limits.name, hostMemory());
}

/** The machine's memory; null without the permission to know it. */
export function hostMemory(): HostMemory | null {
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "systemMemoryInfo" });
  return state === "granted" ? Deno.systemMemoryInfo() : null;
}

/** Bytes, as the system counts them. */
export interface HostMemory {
  readonly total: number;
  /** What programs can still have without swapping. */
  readonly available: number;
  readonly swapFree: number;
}

/**
 * Compares what is planned with what the machine has left.
 *
 * @param memory Null for unknown: nothing is refused.
 * @throws {RangeError} If it is less.
 */
export function checkMemory(peakBytes: number, adapter: string, memory: HostMemory | null): void {
  if (memory === null || peakBytes <= memory.available + memory.swapFree) return;
  throw new RangeError(
    `Cannot run on ${adapter}: ${peakBytes} bytes of memory are needed, and of the machine's ${memory.total} ` +
      `${memory.available} are available, and ${memory.swapFree} to swap to. Use a smaller batch, smaller pictures, gradient ` +
      "checkpointing, 16-bit weights or a lower rank, or end other programs",
  );
}
