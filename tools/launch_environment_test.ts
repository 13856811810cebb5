import { deepEqual } from "node:assert/strict";
import { environmentFor } from "./launch_environment.ts";

Deno.test("environmentFor() keeps WebGPU from OpenGL on Linux, and leaves other systems alone", () => {
  deepEqual(environmentFor("linux", undefined), { DENO_WEBGPU_BACKEND: "vulkan" });
  deepEqual(environmentFor("darwin", undefined), {});
  deepEqual(environmentFor("windows", undefined), {});
});

Deno.test("environmentFor() keeps what the user has set", () => {
  deepEqual(environmentFor("linux", "opengl"), {});
});
