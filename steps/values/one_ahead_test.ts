import { deepEqual, equal, rejects } from "node:assert/strict";
import { oneAhead } from "./one_ahead.ts";

/** Makers of 0, 1, 2, … that write down when they begin. */
function makers(count: number, happened: string[], fails = -1): (() => Promise<number>)[] {
  return Array.from({ length: count }, (_, i) => () => {
    happened.push(`make ${i}`);
    return i === fails ? Promise.reject(new Error(`${i} cannot be made`)) : Promise.resolve(i);
  });
}

Deno.test("the next one is begun before one is used, and no further ones", async () => {
  const happened: string[] = [];
  for await (const each of oneAhead(makers(4, happened))) happened.push(`use ${each}`);
  deepEqual(happened, ["make 0", "make 1", "use 0", "make 2", "use 1", "make 3", "use 2", "use 3"]);
});

Deno.test("what cannot be made is told when its turn has come", async () => {
  const happened: string[] = [];
  await rejects(async () => {
    for await (const each of oneAhead(makers(4, happened, 2))) {
      // Long enough for a rejection that nobody awaits to end the process.
      await new Promise((done) => setTimeout(done));
      happened.push(`use ${each}`);
    }
  }, { message: "2 cannot be made" });
  deepEqual(happened, ["make 0", "make 1", "use 0", "make 2", "use 1"]);
});

Deno.test("who stops waits for what is being made", async () => {
  let isMade = false;
  const slow = async () => {
    await new Promise((done) => setTimeout(done, 5));
    return isMade = true;
  };
  for await (const _ of oneAhead([() => Promise.resolve(true), slow])) break;
  equal(isMade, true);
});
