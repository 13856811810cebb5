import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import { exampleReport } from "./example_report.ts";
import {
  type ColumnKind,
  figureText,
  finalValue,
  type ReportColumn,
  reportText,
  resultText,
  stackShares,
  termText,
} from "./report.ts";

function column(kind: ColumnKind, identityKept: number | null, outfitTaken: number | null): ReportColumn {
  return { name: kind, kind, identityKept, outfitTaken, pictures: 24 };
}

const alone = [column("base", 0, 0), column("character", 0.5, null), column("outfit", null, 0.8)];

Deno.test("stackShares() divides each stack by each LoRA alone", () => {
  const stacks = [column("stack", 0.4, 0.2), column("stack-without-orthogonality", 0.5, 0.6)];
  deepEqual(stackShares({ columns: [...alone, ...stacks] }), [
    { column: stacks[0], identity: 0.8, outfit: 0.25 },
    { column: stacks[1], identity: 1, outfit: 0.6 / 0.8 },
  ]);
});

Deno.test("stackShares() compares a stack with the outfit alone of the very network in it", () => {
  const stacks = [column("stack", 0.4, 0.2), column("stack-without-orthogonality", 0.5, 0.3)];
  const own = column("outfit-without-orthogonality", null, 0.6);
  deepEqual(stackShares({ columns: [...alone, own, ...stacks] }).map(({ outfit }) => outfit), [0.25, 0.5]);
});

Deno.test("stackShares() gives no share of what a LoRA alone does not show, or of what was not measured", () => {
  const columns = [column("character", 0.05, null), column("stack", 0.4, 0.2)];
  deepEqual(stackShares({ columns }).map(({ identity, outfit }) => [identity, outfit]), [[null, null]]);
});

Deno.test("resultText() says what both stacks kept, the one with orthogonality first", () => {
  const stacks = [column("stack-without-orthogonality", 0.25, 0.4), column("stack", 0.4, 0.2)];
  equal(
    resultText({ columns: [...alone, ...stacks] }),
    "In this run the stack with orthogonality kept 0.80 of the identity that the character LoRA has alone and took 0.25 of the outfit " +
      "that the outfit LoRA has alone; the stack without orthogonality kept 0.50 and took 0.50.",
  );
});

Deno.test("resultText() claims nothing where a LoRA alone shows next to nothing, or there is no stack", () => {
  const weak = resultText({
    columns: [column("character", 0.04, null), column("outfit", null, 0.8), column("stack", 1, 1)],
  });
  match(weak, /^The character LoRA alone shows next to nothing of its character \(0\.04\)/);
  doesNotMatch(weak, /kept/);
  match(resultText({ columns: alone }), /no pictures with both LoRAs/);
  match(
    resultText({ columns: [column("stack", 1, 1)] }),
    /character LoRA alone was not measured.*outfit LoRA alone was not/,
  );
});

Deno.test("reportText() fits 15 lines of 110 characters and holds the figures, the outcome and the terms", () => {
  const lines = reportText(exampleReport).split("\n");
  ok(lines.length <= 15, `${lines.length} lines`);
  ok(lines.every((line) => line.length <= 110), lines.join("\n"));
  match(lines[0], /^dualora 0\.1\.0, seed 1, llvmpipe .* \(CPU\), 8 min 19 s$/);
  // 0.516 / 0.542 = 0.952; 0.490 / 0.678 = 0.723.
  match(lines[6], /^stack with orthogonality +0\.52 \(0\.95 of alone\) +0\.49 \(0\.72 of alone\)$/);
  match(reportText(exampleReport), /orthogonality terms at the end \d\.\de-7 \(text\), [45]\.\de-9 \(UNet\)/);
});

Deno.test("finalValue() is the mean over a run's last 20 steps, undefined without the figure", () => {
  const steps = Array.from({ length: 50 }, (_, step) => ({ step, epoch: 0, values: { loss_1: step } }));
  const run = { name: "network 1", network: 1, orthogonality: false, steps } as const;
  equal(finalValue(run, "loss_1"), (30 + 49) / 2);
  equal(finalValue(run, "orth_te"), undefined);
});

Deno.test("figureText() and termText() show digits that count", () => {
  deepEqual([0.516, -0.021, -0.001, 1, null].map(figureText), ["0.52", "−0.02", "0.00", "1.00", "–"]);
  deepEqual([0.9234, 0.0123, 6.94e-6, 0, 12.34].map(termText), ["0.92", "0.012", "6.9e-6", "0", "12"]);
});
