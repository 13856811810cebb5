import { deepEqual, throws } from "node:assert/strict";
import { pythonLiteral } from "./python_literal.ts";

// What Python 3.11's ast.literal_eval gives; tuples are lists here.
const values: [string, unknown][] = [
  ["()", []],
  ["(1,)", [1]],
  ["(1)", 1],
  ["[1, 2,]", [1, 2]],
  ["[[1,2],(3,)]", [[1, 2], [3]]],
  ["1,", [1]],
  ["'it\\'s'", "it's"],
  ['"a, b"', "a, b"],
  ["1_000", 1000],
  ["-0.5", -0.5],
  ["1e-3", 0.001],
  ["True,False", [true, false]],
  ["None", null],
  [" ( 0.9 , 0.99 ) ", [0.9, 0.99]],
];

Deno.test("pythonLiteral() reads what Python's literal_eval reads", () => {
  for (const [text, value] of values) deepEqual(pythonLiteral(text), value, text);
});

Deno.test("pythonLiteral() refuses what Python refuses", () => {
  for (const text of ["a", "", "(1 2)", "[1", "nan", "1]", "(,)", "None x", "1 +", "true"]) {
    throws(() => pythonLiteral(text), SyntaxError, text);
  }
});
