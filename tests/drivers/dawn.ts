/**
 * Puts Dawn, the WebGPU of Chromium with its own compiler of WGSL, in the place of Deno's; npm's `webgpu` has it for Node, and Deno takes that.
 *
 * @param flags Such as `backend=null`: WebGPU's default limits and all its checks, but nothing is computed, and no driver is needed.
 */
export async function useDawn(flags: readonly string[]): Promise<void> {
  // By its path, since it is no package of the project's: only `deno task test:drivers` fetches it.
  const path = new URL("dawn/node_modules/webgpu/index.js", import.meta.url).href;
  const { create, globals } = await import(path);
  for (const [name, value] of Object.entries(globals)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  // It settles a promise, for which it is too late where tests dispose of devices when the process ends: that crashes.
  globals.GPUDevice.prototype.destroy = () => {};
  Object.defineProperty(navigator, "gpu", { value: create([...flags]), configurable: true });
}
