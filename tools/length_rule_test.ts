import { equal } from "node:assert/strict";
import { describeLength } from "./length_rule.ts";

Deno.test("describeLength() takes a file of 500 lines and refuses one of 501, with or without an end to its last line", () => {
  const lines = (count: number) => Array.from({ length: count }, (_, at) => `line ${at}`).join("\n");
  equal(describeLength(`${lines(500)}\n`), null);
  equal(describeLength(lines(500)), null);
  const tooLong = "has 501 lines, may have 500: split it by what its parts do";
  equal(describeLength(`${lines(501)}\n`), tooLong);
  equal(describeLength(lines(501)), tooLong);
});
