import { deepEqual, equal } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { JsonNumber, type JsonValue, parseStrictJson } from "./strict_json.ts";
import { PythonFloat, pythonFloatText, pythonJson, pythonStr, PythonTuple, type PythonValue } from "./python_text.ts";

// What CPython 3.11 printed. A row of json_dumps is [value, text].
const golden = parseStrictJson(
  await readFile(new URL("../tests/golden/files/python_text.json", import.meta.url), "utf8"),
) as Map<string, JsonValue>;

/** A JSON value as Python's json.loads makes it: 2.0 and 1e-05 are floats, 1 is an int. */
function asPython(value: JsonValue): PythonValue {
  if (value instanceof JsonNumber) {
    return /^-?\d+$/.test(value.text) ? BigInt(value.text) : new PythonFloat(Number(value.text));
  }
  if (Array.isArray(value)) return value.map(asPython);
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [key, asPython(item)]));
  return value;
}

Deno.test("pythonFloatText() writes 41 floats as Python does", () => {
  for (const [text, wanted] of golden.get("python_float_text") as string[][]) {
    const value = { inf: Infinity, "-inf": -Infinity, nan: NaN }[text] ?? Number(text.replaceAll("_", ""));
    equal(pythonFloatText(value), wanted, text);
  }
});

Deno.test("pythonStr() writes values as Python does", () => {
  for (const [text, wanted] of golden.get("python_str") as string[][]) {
    const isTuple = text.startsWith("tuple ");
    const value = asPython(parseStrictJson(text.replace(/^tuple /, "")));
    equal(pythonStr(isTuple ? new PythonTuple(...value as PythonValue[]) : value), wanted, text);
  }
});

Deno.test("pythonStr() quotes and escapes strings inside of lists as Python does", () => {
  // From CPython 3.11: str(["it's", 'a "b"', "'\"", "\\\n\x01\xa0é日\u200b\U000e0001😀"])
  const text = pythonStr(["it's", 'a "b"', "'\"", "\\\n\x01\xa0é日\u200b\u{e0001}😀"]);
  equal(text, `["it's", 'a "b"', '\\'"', '\\\\\\n\\x01\\xa0é日\\u200b\\U000e0001😀']`);
});

Deno.test("pythonJson() writes values as json.dumps does", () => {
  for (const [value, wanted] of golden.get("json_dumps") as JsonValue[][]) {
    equal(pythonJson(asPython(value)), wanted);
  }
});

Deno.test("pythonJson() keeps the order of keys that look like numbers", () => {
  deepEqual(pythonJson(new Map([["b", 1], ["2", 2], ["1", 3]])), '{"b": 1, "2": 2, "1": 3}');
});
