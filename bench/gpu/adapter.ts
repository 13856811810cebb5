/**
 * Prints what `bench:gpu` says of the machine: the adapter with its peaks, and the card as its driver describes it.
 *
 * @module
 */
import { Device } from "../../engine/mod.ts";
import { lineText, programVersion } from "../line.ts";
import { measureRoofline, rooflineLine } from "../roofline.ts";

using device = await Device.open();
const { target, ...facts } = device.facts;
console.log(lineText({
  op: "adapter",
  adapter: facts.name,
  vendor: facts.vendor,
  architecture: facts.architecture,
  cpu: target.cpu,
  f16: target.f16,
  timestamps: device.gpu.features.has("timestamp-query"),
  subgroup_size: target.subgroupSize,
  workgroup_storage_bytes: target.maxWorkgroupStorageBytes,
  binding_bytes: facts.maxBindingBytes,
  card: await outputOf("nvidia-smi", [
    "--query-gpu=name,driver_version,clocks.max.sm,clocks.max.memory,memory.total,power.limit",
    "--format=csv,noheader",
  ]),
  host: `${
    (await outputOf("lscpu", []))?.match(/^Model name:\s*(.*)$/m)?.[1] ?? "a processor without a name"
  }, ${navigator.hardwareConcurrency} threads`,
  version: await programVersion(),
}));
console.log(lineText(rooflineLine(await measureRoofline(device, { seconds: 1 }))));

/** What a program prints; null where it is not there or fails, as `nvidia-smi` does without such a card. */
async function outputOf(command: string, args: string[]): Promise<string | null> {
  try {
    const { success, stdout } = await new Deno.Command(command, { args, env: { LC_ALL: "C" } }).output();
    return success ? new TextDecoder().decode(stdout).trim() : null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
