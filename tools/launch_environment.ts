const backendVariable = "DENO_WEBGPU_BACKEND";

/** Environment variables that have to be set before a process that uses WebGPU starts; what the user has set is kept. */
export function launchEnvironment(): Record<string, string> {
  return environmentFor(Deno.build.os, Deno.env.get(backendVariable));
}

/**
 * The decision of {@linkcode launchEnvironment} alone.
 *
 * @param os `Deno.build.os`.
 * @param backend The backend of WebGPU that the user has set.
 */
export function environmentFor(os: string, backend: string | undefined): Record<string, string> {
  // Without a Vulkan driver Deno would take OpenGL without a word, which is far slower and lacks 16-bit numbers.
  return os === "linux" && backend === undefined ? { [backendVariable]: "vulkan" } : {};
}
