import { deepEqual, equal, throws } from "node:assert/strict";
import fc from "fast-check";
import { DuplicateNameError, JsonNumber, type JsonValue, parseStrictJson } from "./strict_json.ts";

/** What JSON.parse gives for the same text, or undefined where a number or name has no place there. */
function toPlain(value: JsonValue): unknown {
  if (value instanceof JsonNumber) return Number(value.text);
  if (Array.isArray(value)) return value.map(toPlain);
  if (value instanceof Map) return Object.fromEntries([...value].map(([name, item]) => [name, toPlain(item)]));
  return value;
}

Deno.test("parseStrictJson() agrees with JSON.parse on any JSON value", () => {
  const anyJson = fc.json({ stringUnit: "grapheme" });
  fc.assert(fc.property(anyJson, (text) => deepEqual(toPlain(parseStrictJson(text)), JSON.parse(text))));
});

Deno.test("parseStrictJson() accepts no text that JSON.parse refuses", () => {
  const nearJson = fc.string({ unit: fc.constantFrom(...'{}[]",:0123456789.eE+-truefalsn\\u \n\t\u0001') });
  fc.assert(
    fc.property(nearJson, (text) => {
      try {
        parseStrictJson(text);
      } catch (error) {
        equal(error instanceof SyntaxError, true);
        return;
      }
      JSON.parse(text);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("parseStrictJson() refuses a name that stands twice, also by escape", () => {
  throws(
    () => parseStrictJson('{"a": 1, "b": {"c": 2, "\\u0063": 3}}'),
    (error) => error instanceof DuplicateNameError && error.duplicate === "c",
  );
});

Deno.test("parseStrictJson() takes __proto__ as a name like any other", () => {
  deepEqual([...parseStrictJson('{"__proto__": "x"}') as Map<string, JsonValue>], [["__proto__", "x"]]);
});

Deno.test("parseStrictJson() refuses half a surrogate pair and takes a whole one", () => {
  throws(() => parseStrictJson('"\\ud83d"'), { name: "SyntaxError", message: /Half a surrogate pair/ });
  equal(parseStrictJson('"\\ud83d\\ude00"'), "😀");
});

Deno.test("parseStrictJson() refuses 20,000 nested arrays instead of overflowing the stack", () => {
  throws(() => parseStrictJson("[".repeat(20000)), { name: "SyntaxError", message: /More than 64 levels/ });
});

Deno.test("asCount() tells integers from what only equals one", () => {
  const counts = ["4", "4.0", "4e0", "-4", "9007199254740991", "9007199254740993"].map((text) =>
    (parseStrictJson(text) as JsonNumber).asCount()
  );
  deepEqual(counts, [4, null, null, null, 9007199254740991, null]);
});
