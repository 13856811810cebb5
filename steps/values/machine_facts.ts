import process from "node:process";
import type { Device } from "../../engine/mod.ts";

/**
 * What a run's record says of the adapter. WebGPU names no driver: its version comes from `tools/launch.ts`, in `DUALORA_DRIVER`, where a package manager
 * knows it.
 */
export function machineFacts({ name, vendor, architecture, target }: Device["facts"]) {
  const { cpu, f16 } = target, subgroupSize = target.subgroupSize || null;
  return {
    adapter: { name, vendor, architecture, cpu, subgroupSize, f16 },
    driver: process.env.DUALORA_DRIVER ?? null,
  };
}
