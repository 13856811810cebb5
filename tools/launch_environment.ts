/**
 * Width in bits of the vectors that Mesa's CPU driver is told to use where the processor has them (AVX-512); null leaves the
 * driver's own choice of 256.
 */
const cpuVectorBits: number | null = null;

/** Environment variables that have to be set before a process that uses WebGPU starts; what the user has set is kept. */
export function launchEnvironment(): Record<string, string> {
  const os = Deno.build.os;
  return environmentFor({
    os,
    cpuInfo: os === "linux" ? Deno.readTextFileSync("/proc/cpuinfo") : "",
    present: Deno.env.toObject(),
    cpuVectorBits,
  });
}

/** The decision of {@linkcode launchEnvironment} alone. */
export function environmentFor(facts: {
  /** `Deno.build.os`. */
  os: string;
  /** Text of `/proc/cpuinfo`. */
  cpuInfo: string;
  /** The environment as it is. */
  present: Record<string, string>;
  /** Wanted width of vectors; null for the driver's choice. */
  cpuVectorBits: number | null;
}): Record<string, string> {
  if (facts.os !== "linux") return {};
  const wanted: Record<string, string> = {
    // Without a Vulkan driver Deno would take OpenGL without a word, which is far slower and lacks 16-bit numbers.
    DENO_WEBGPU_BACKEND: "vulkan",
  };
  if (facts.cpuVectorBits !== null && /\bavx512f\b/.test(facts.cpuInfo)) {
    wanted.LP_NATIVE_VECTOR_WIDTH = String(facts.cpuVectorBits);
  }
  return Object.fromEntries(Object.entries(wanted).filter(([name]) => facts.present[name] === undefined));
}
