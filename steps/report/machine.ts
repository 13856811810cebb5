import type { Device } from "../../engine/mod.ts";
import { machineFacts } from "../values/machine_facts.ts";

/** What a run was computed on, for reports. */
export interface Machine {
  readonly adapter: {
    readonly name: string;
    readonly vendor: string;
    readonly architecture: string;
    /** Whether it is a driver that computes on the CPU. */
    readonly cpu: boolean;
    /** Null where the adapter has no subgroups. */
    readonly subgroupSize: number | null;
    /** Whether shaders may use 16-bit floats. */
    readonly f16: boolean;
  };
  /** Versions of what ran it: `deno`, `v8`, a driver. */
  readonly versions: Readonly<Record<string, string>>;
}

/** The machine of a device. */
export function machineOf({ facts }: Device): Machine {
  const { adapter, driver } = machineFacts(facts), { deno, v8, typescript } = Deno.version;
  return { adapter, versions: { deno, v8, typescript, ...driver === null ? {} : { driver } } };
}
