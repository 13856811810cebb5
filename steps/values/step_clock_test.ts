import { deepEqual, equal } from "node:assert/strict";
import { StepClock } from "./step_clock.ts";

Deno.test("StepClock() leaves out each phase's first step and what is no step", async () => {
  let now = 100;
  const kept: unknown[] = [];
  const clock = new StepClock((...phase) => Promise.resolve(void kept.push(phase)), () => now);
  const frozen = { network1Trains: false, orthogonalityOn: true },
    thawed = { network1Trains: true, orthogonalityOn: true };
  const step = (seconds: number) => {
    now += seconds;
    clock.step();
  };
  const wait = () => Promise.resolve(void (now += 2));
  await clock.begin(frozen, wait);
  equal(clock.waits, true);
  // Compiling.
  step(60);
  equal(clock.waits, true);
  step(2);
  equal(clock.waits, false);
  await clock.without(() => Promise.resolve(void (now += 30)));
  await clock.begin({ ...frozen }, wait);
  step(2);
  // What was queued is waited for: two steps in 2 + 2 + 2 seconds.
  await clock.begin(thawed, wait);
  deepEqual(kept, [[frozen, 3]]);
  step(9);
  await clock.finish();
  // One step says nothing.
  equal(kept.length, 1);
});
