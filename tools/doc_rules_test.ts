import { deepEqual } from "node:assert/strict";
import { findUndocumented } from "./doc_rules.ts";

// The shape of `deno doc --json`, version 2.
const at = (line: number) => ({ location: { filename: "file:///a.ts", line } });
const documented = { jsDoc: { doc: "Says what it is." } };

function messages(...symbols: Parameters<typeof findUndocumented>[0]["nodes"][string]["symbols"]): [number, string][] {
  return findUndocumented({ nodes: { "file:///a.ts": { symbols } } }).map(({ line, message }) => [line, message]);
}

Deno.test("findUndocumented() finds an exported symbol without a doc comment, lines counted from 1", () => {
  deepEqual(messages({ name: "f", declarations: [{ kind: "function", ...at(4) }] }), [
    [5, "f is exported without a doc comment"],
  ]);
  deepEqual(messages({ name: "f", declarations: [{ kind: "function", jsDoc: { doc: " " }, ...at(4) }] }).length, 1);
  deepEqual(messages({ name: "f", declarations: [{ kind: "function", ...documented, ...at(4) }] }), []);
});

Deno.test("findUndocumented() takes one comment for all overloads", () => {
  const declarations = [{ kind: "function", ...documented, ...at(1) }, { kind: "function", ...at(2) }];
  deepEqual(messages({ name: "f", declarations }), []);
});

Deno.test("findUndocumented() finds public methods, but not private ones, symbols' own and toString", () => {
  const methods = [
    { name: "run", kind: "method", ...at(2) },
    { name: "stop", kind: "method", ...documented, ...at(3) },
    { name: "helper", kind: "method", accessibility: "private", ...at(4) },
    { name: "[Symbol.dispose]", kind: "method", ...at(5) },
    { name: "toString", kind: "method", ...at(6) },
  ];
  deepEqual(messages({ name: "A", declarations: [{ kind: "class", ...documented, def: { methods }, ...at(1) }] }), [
    [3, "A.run is public without a doc comment"],
  ]);
});
