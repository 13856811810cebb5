/**
 * Prints what `bench:gpu` says of the machine: the adapter with its peaks, and the host.
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
  host_threads: navigator.hardwareConcurrency,
  version: await programVersion(),
}));
console.log(lineText(rooflineLine(await measureRoofline(device, { seconds: 1 }))));
