import { deepEqual, equal, notDeepEqual, notEqual, throws } from "node:assert/strict";

Deno.test('assertions tell 1 from "1", and 0 from -0', () => {
  throws(() => equal("1", 1));
  throws(() => deepEqual([1], ["1"]));
  throws(() => deepEqual(new Float32Array([0]), new Float32Array([-0])));
  notEqual("1", 1);
  notDeepEqual([1], ["1"]);
});
