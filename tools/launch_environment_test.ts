import { deepEqual } from "node:assert/strict";
import { environmentFor } from "./launch_environment.ts";

const wide = "flags\t\t: fpu sse2 avx2 avx512f avx512bw";
const narrow = "flags\t\t: fpu sse2 avx2";

Deno.test("environmentFor() keeps WebGPU from OpenGL on Linux, and leaves other systems alone", () => {
  const facts = { cpuInfo: narrow, present: {}, cpuVectorBits: null };
  deepEqual(environmentFor({ os: "linux", ...facts }), { DENO_WEBGPU_BACKEND: "vulkan" });
  deepEqual(environmentFor({ os: "darwin", ...facts }), {});
  deepEqual(environmentFor({ os: "windows", ...facts }), {});
});

Deno.test("environmentFor() asks for wide vectors only where the processor has them", () => {
  const facts = { os: "linux", present: {}, cpuVectorBits: 512 };
  deepEqual(environmentFor({ ...facts, cpuInfo: wide }).LP_NATIVE_VECTOR_WIDTH, "512");
  deepEqual(environmentFor({ ...facts, cpuInfo: narrow }).LP_NATIVE_VECTOR_WIDTH, undefined);
});

Deno.test("environmentFor() keeps what the user has set", () => {
  const present = { DENO_WEBGPU_BACKEND: "opengl", LP_NATIVE_VECTOR_WIDTH: "128" };
  deepEqual(environmentFor({ os: "linux", cpuInfo: wide, present, cpuVectorBits: 512 }), {});
});
