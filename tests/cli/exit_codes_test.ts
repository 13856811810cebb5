import { equal } from "node:assert/strict";
import { exitCodeOf } from "../../cli/exit_codes.ts";
import { DeviceLostError } from "../../engine/mod.ts";
import { DiskFullError } from "../../formats/disk_full.ts";
import * as d from "../../mod.ts";

Deno.test("a command leaves with 75 where the same goes on, 3 where training diverged, 2 where something has to be changed, 1 for a fault", () => {
  const cases: [Error, number][] = [
    [new d.InterruptedError("train", "in"), 75],
    [new DeviceLostError("The GPU device was lost"), 75],
    [new d.DivergedError(3, "loss_1 is NaN"), 3],
    [new DiskFullError("a.safetensors", 10, 5), 2],
    [new d.InputError("Cannot read prompts.txt: there is no such file"), 2],
    [new RangeError("Cannot train: steps is 0, must be a whole number above 0"), 2],
    [new TypeError("Cannot load unet: conv_in.weight is [1], must be [2]"), 2],
    [new Error("Cannot save networks: no permission"), 2],
  ];
  for (const [error, code] of cases) equal(exitCodeOf(error), code, `${error}`);
  // As JavaScript itself throws them.
  for (const wrong of [() => (null as unknown as Error).message, () => (undefined as unknown as () => void)()]) {
    try {
      wrong();
    } catch (error) {
      equal(exitCodeOf(error as Error), 1, `${error}`);
    }
  }
});
