import { equal, throws } from "node:assert/strict";
import { exitCodeOf } from "../../cli/exit_codes.ts";
import { DeviceLostError } from "../../engine/mod.ts";
import { DiskFullError } from "../../formats/write_errors.ts";
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
  const wrongs: (() => unknown)[] = [
    () => (null as unknown as Error).message,
    () => (undefined as unknown as () => void)(),
    () => new Float32Array(-1),
    () => Array(-1),
    () => "a".repeat(-1),
    () => (1).toFixed(101),
    () => new DataView(new ArrayBuffer(1)).getUint32(0),
    () => new Date(NaN).toISOString(),
    () => new Float32Array(4).set([1], 4),
    function endless(): unknown {
      return [endless()];
    },
  ];
  for (const wrong of wrongs) throws(wrong, (error: Error) => exitCodeOf(error) === 1, `${wrong}`);
  // No machine has that much memory.
  throws(() => new ArrayBuffer(2 ** 52), (error: Error) => exitCodeOf(error) === 2);
});
