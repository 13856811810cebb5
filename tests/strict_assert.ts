/**
 * What tests import as `node:assert/strict`. Deno 2.9.6 gives the loose functions under that name, so that `equal("1", 1)` and
 * `deepEqual([1], ["1"])` pass; deno.json's import map brings tests here instead.
 *
 * @module
 */
export {
  deepStrictEqual as deepEqual,
  doesNotMatch,
  match,
  notDeepStrictEqual as notDeepEqual,
  notStrictEqual as notEqual,
  ok,
  rejects,
  strictEqual as equal,
  throws,
} from "node:assert";
