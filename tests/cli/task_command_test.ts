import { deepEqual, equal, throws } from "node:assert/strict";
import { countOf, secondsOf } from "../../cli/task_command.ts";
import { wholeNumber } from "../../cli/whole_number.ts";

Deno.test("a count is a whole number above 0 for tasks and commands alike, and each says in its own way what it must be", () => {
  for (const text of ["1", "20", "1e3"]) {
    deepEqual([countOf(text), wholeNumber("steps", text)], [Number(text), Number(text)]);
  }
  for (const text of ["", " ", "0", "-1", "2.5", "abc", "Infinity", "9007199254740993"]) {
    throws(() => countOf(text), { name: "InvalidArgumentError", message: "It must be a whole number above 0." }, text);
    throws(() => wholeNumber("steps", text), {
      name: "UsageError",
      message: `--steps is ${JSON.stringify(text)}, must be a whole number above 0`,
    });
  }
});

Deno.test("seconds of a measurement are a number above 0", () => {
  equal(secondsOf("0.25"), 0.25);
  for (const text of ["", "0", "-1", "abc", "Infinity"]) {
    throws(() => secondsOf(text), { message: "It must be a number above 0." }, text);
  }
});
