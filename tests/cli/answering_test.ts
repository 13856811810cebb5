import { rejects } from "node:assert/strict";
import { answering } from "../../cli/tools/answering.ts";

Deno.test("answering() makes a usage error of what a tool refuses, and lets a fault of the program be one", async () => {
  const failing = (error: Error) => answering(() => Promise.reject(error));
  await rejects(failing(new RangeError("Cannot resize a: rank is 0, must be above 0")), {
    name: "UsageError",
    message: "Cannot resize a: rank is 0, must be above 0",
  });
  await rejects(failing(Object.assign(new Error("ENOENT"), { code: "ENOENT", path: "a" })), {
    name: "UsageError",
    message: "Cannot read a: there is no such file",
  });
  // The engine's own sentence for a value that is not there.
  await rejects(failing(new TypeError("Cannot read properties of undefined (reading 'shape')")), { name: "TypeError" });
});
