import { deepEqual } from "node:assert/strict";
import type { FreezeOptions } from "../../training/phases.ts";
import type { OrthogonalitySetting } from "./coupling_options.ts";
import { phaseWarnings } from "./phase_warnings.ts";

Deno.test("phaseWarnings() tells of a network that never thaws, and of a loss that is never on, and of nothing else", () => {
  const off = { textEncoder: 0, unet: 0 }, semi = { semiFreeze: true };
  const anneal = (epoch: number) => `annealEpoch (--anneal_epoch) is ${epoch}`;
  const half = (epoch: number) => `halfAnnealEpoch (--half_annel_epoch) is ${epoch}`;
  const cases: [number, FreezeOptions, OrthogonalitySetting, string[]][] = [
    [2, { ...semi, annealEpoch: 2 }, off, [
      `network 1 is semi-frozen and never thaws: ${anneal(2)}, the run has 2 epochs (0 and 1); set annealEpoch to 1 ` +
      "or less, or train for more epochs",
    ]],
    // After epoch 0, the half, the loss is on.
    [3, { ...semi, annealEpoch: 7 }, {}, [
      `network 1 is semi-frozen and never thaws: ${anneal(7)}, the run has 3 epochs (0 to 2); set annealEpoch to 2 ` +
      "or less, or train for more epochs",
    ]],
    [1, { annealEpoch: 1 }, {}, [
      `orthogonality is never on: ${anneal(1)}, ${half(0)}, the run has 1 epoch (0); set annealEpoch to 0, or train ` +
      "for more epochs",
    ]],
    [2, { freeze: true, annealEpoch: 3, halfAnnealEpoch: 1 }, { ...off, up: 1 }, [
      `orthogonality is never on: ${anneal(3)}, ${half(1)}, the run has 2 epochs (0 and 1); set annealEpoch to 1 or ` +
      "less, or train for more epochs",
    ]],
    [2, { ...semi, annealEpoch: 1 }, {}, []],
    [2, { annealEpoch: 3 }, {}, []],
    [1, { annealEpoch: 1 }, off, []],
    [1, { annealEpoch: 1 }, false, []],
    [1, { freeze: true }, {}, []],
  ];
  for (const [epochs, freezing, orthogonality, expected] of cases) {
    deepEqual(phaseWarnings(epochs, { freezing, orthogonality }), expected);
  }
  // Whichever term is asked for.
  for (const term of [{ divergence: -1 }, { down: 1 }, { hooks: { modules: "all" } }] as const) {
    deepEqual(phaseWarnings(1, { freezing: { annealEpoch: 1 }, orthogonality: { ...off, ...term } }).length, 1);
  }
  const silent = { modules: "all", coefficient: 0 } as const;
  deepEqual(phaseWarnings(1, { freezing: { annealEpoch: 1 }, orthogonality: { ...off, hooks: silent } }), []);
});
