import { equal, throws } from "node:assert/strict";
import { ExplosionWatch } from "../../training/explosion_watch.ts";
import { DivergedError } from "../../training/not_finite.ts";

Deno.test("a training ends where the error is above a hundred times that of no prediction in so many steps in a row", () => {
  const watch = new ExplosionWatch(3);
  const look = (step: number, mse_1: number, mse_2 = 0.5) =>
    watch.look({ step, epoch: 0, values: { mse_1, mse_2, loss_1: 1e6 } });
  // Two in a row are forgiven, and a skipped step that has no figures is none.
  look(0, 101);
  look(1, 1e9);
  look(2, 100);
  watch.look({ step: 3, epoch: 0, values: {} });
  look(4, 101);
  look(5, 0.4, 7000);
  throws(() => look(6, 5000), (error: DivergedError) => {
    equal(
      error.message.startsWith(
        "Training diverged in step 7: mse_1 is 5.00e+3, and was above 100 in 3 steps in a row; ",
      ),
      true,
    );
    return error instanceof DivergedError && error.firstStep === 4;
  });
});
