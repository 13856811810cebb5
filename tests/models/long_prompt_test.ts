import { deepEqual, equal, throws } from "node:assert/strict";
import { Device, input, plan } from "../../engine/mod.ts";
import { joinRows } from "../../models/clip/long_prompt.ts";

Deno.test("joinRows() keeps the first BOS, each row's inside and the last EOS of each prompt", async () => {
  using device = await Device.open();
  const states = input("states", [4, 5, 2]); // 2 prompts of 2 rows of 5 tokens
  const joined = joinRows(states, 2);
  deepEqual(joined.shape, [2, 8, 2]);
  const compiled = await device.compile(plan({ outputs: { joined } }));
  compiled.run({ states: Array.from({ length: 40 }, (_, i) => i) });
  const { joined: found } = await compiled.read("joined");
  const tokens = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 16, 17, 18, 19];
  deepEqual([...found], tokens.flatMap((token) => [2 * token, 2 * token + 1]));
});

Deno.test("joinRows() leaves prompts of one row alone and refuses parts of prompts", () => {
  const states = input("states", [3, 77, 4]);
  equal(joinRows(states, 1), states);
  throws(() => joinRows(states, 2), { name: "RangeError", message: /3 rows are no multiple of 2/ });
});
