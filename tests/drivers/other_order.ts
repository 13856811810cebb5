/**
 * Numbers the invocations of each workgroup in another order: `reversed`, `scattered` or both, as the query behind this module's address says.
 *
 * A driver for CPUs runs a few invocations at a time, the first ones first, from one barrier to the next. Where a barrier is missing it still gives the right results if those
 * that write come before those that read. Of any two invocations each comes first in the driver's own order or one of these three.
 *
 * @module
 */
const wanted = [...new URL(import.meta.url).searchParams.keys()];
const { createShaderModule } = GPUDevice.prototype;

GPUDevice.prototype.createShaderModule = function (descriptor: GPUShaderModuleDescriptor): GPUShaderModule {
  return createShaderModule.call(this, { ...descriptor, code: reordered(descriptor.code) });
};

/** The kernel's text with invocations in the wanted order. */
function reordered(wgsl: string): string {
  if (!wgsl.includes("var<workgroup>")) return wgsl;
  const size = Number(/@workgroup_size\((\d+)\)/.exec(wgsl)?.[1]), bits = Math.log2(size);
  const [parameter, name] = /@builtin\(local_invocation_index\) (\w+): u32/.exec(wgsl) ?? [];
  const main = /fn main\([^{]*\) \{\n/.exec(wgsl)?.[0];
  if (!Number.isInteger(bits) || parameter === undefined || main === undefined) {
    throw new Error(`Cannot number invocations in another order:\n${wgsl}`);
  }
  const scattered = wanted.includes("scattered") ? `(reverseBits(given_index) >> ${32 - bits}u)` : "given_index";
  const place = wanted.includes("reversed") ? `${size - 1}u - ${scattered}` : scattered;
  return wgsl.replace(main, `${main}let ${name} = ${place};\n`)
    .replace(parameter, "@builtin(local_invocation_index) given_index: u32");
}
