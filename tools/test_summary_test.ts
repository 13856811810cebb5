import { deepEqual } from "node:assert/strict";
import { countTests } from "./test_summary.ts";

Deno.test("countTests() reads Deno's last line, with and without colours and steps", () => {
  deepEqual(countTests("\n\x1b[0m\x1b[32mok\x1b[0m | 12 passed | 0 failed \x1b[0m(754ms)\x1b[0m\n", true), {
    passed: 12,
    failed: 0,
  });
  deepEqual(countTests("FAILED | 4 passed (1 step) | 3 failed (2 steps) | 2 ignored (296ms)\n", false), {
    passed: 4,
    failed: 3,
  });
});

Deno.test("countTests() takes the last summary, so that a test's own output does not count", () => {
  deepEqual(countTests("ok | 99 passed | 0 failed\nok | 1 passed | 0 failed (1ms)\n", true), { passed: 1, failed: 0 });
});

Deno.test("countTests() counts a run that broke off as a failure", () => {
  deepEqual(countTests("error: Type checking failed.\n", false), { passed: 0, failed: 1 });
  deepEqual(countTests("", true), { passed: 0, failed: 0 });
});
