import { deepEqual, throws } from "node:assert/strict";
import { parsePythonLiteral } from "./python_literal.ts";

// Each line was read by Python 3.11's ast.literal_eval.
const values: [string, unknown][] = [
  ["1", 1],
  ["-0.5", -0.5],
  ["+1e-8", 1e-8],
  [".9,.99", [0.9, 0.99]],
  ["(0.9, 0.999)", [0.9, 0.999]],
  ["(1,)", [1]],
  ["(1)", 1],
  ["1,", [1]],
  ["()", []],
  ["[1, [2.5, True]]", [1, [2.5, true]]],
  ["1_000.5", 1000.5],
  ["5.", 5],
  ["None", null],
  [" False ", false],
  ["'a\\n\"b'", 'a\n"b'],
  ['"constant"', "constant"],
];

Deno.test("parsePythonLiteral() reads what ast.literal_eval does", () => {
  for (const [text, wanted] of values) deepEqual(parsePythonLiteral(text), wanted, text);
});

Deno.test("parsePythonLiteral() refuses what is no literal, and says where", () => {
  // ast.literal_eval refuses all of these.
  for (
    const text of ["", "true", "1 2", "(1", "[1", "inf", "1e", "0.9 0.99", "'a", "None1", "007", "lambda: 1", "-True"]
  ) {
    throws(() => parsePythonLiteral(text), SyntaxError, text);
  }
  throws(() => parsePythonLiteral("(0.9, beta)"), {
    message: 'Cannot read "(0.9, beta)" as a Python value: found "beta)", expected a number, a string, True, False, ' +
      "None, a tuple or a list",
  });
});
