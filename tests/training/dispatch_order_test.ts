import { equal } from "node:assert/strict";
import { dualStepProgram } from "../../bench/dual_step.ts";
import { bindingAlignmentBytes } from "../../engine/graph/tensor.ts";
import { dispatchesOf, type KernelTarget, type Program } from "../../engine/mod.ts";
import { cardTarget, cpuTarget } from "../engine/targets.ts";

/** For each step of a program, the steps that last wrote what it binds, if the steps run in this order. */
function writersOf({ steps }: Program, order: readonly number[]): Map<number, string> {
  const lastWriters = new Map<unknown, number[]>(), found = new Map<number, string>();
  for (const place of order) {
    const bound = steps[place].bindings.map(({ buffer, offsetBytes, sizeBytes, access }) => {
      const key = buffer.kind === "slot" ? buffer.slot : buffer.variable, writers = lastWriters.get(key) ?? [];
      lastWriters.set(key, writers);
      const first = offsetBytes / bindingAlignmentBytes, end = (offsetBytes + sizeBytes) / bindingAlignmentBytes;
      return { writers, first, end: Math.ceil(end), access };
    });
    found.set(place, bound.map(({ writers, first, end }) => [...new Set(writers.slice(first, end))].join()).join("; "));
    for (const { writers, first, end, access } of bound) {
      for (let at = first; access === "read_write" && at < end; at++) writers[at] = place;
    }
  }
  return found;
}

/** The program's steps in the order of its dispatches. */
function runOrder(program: Program, target: KernelTarget): number[] {
  const clears = [...program.steps.entries()].filter(([, { kind }]) => kind === "clear").map(([place]) => place);
  return dispatchesOf(program, target).flatMap((each) =>
    "clears" in each ? clears.splice(0, 1) : each.isUnfinished ? [] : each.steps
  );
}

const small = { base: "toy", pixels: 128, rank: 16, batches: [1, 1], precision: "f32" } as const;

for (const mode of ["both", "frozen"] as const) {
  Deno.test(
    `each step of a dual step finds what it is to read, whatever shares its dispatch, network 1 ${
      mode === "both" ? "training" : "frozen"
    }`,
    async () => {
      const program = await dualStepProgram({ ...small, mode }),
        planned = writersOf(program, [...program.steps.keys()]);
      for (const [name, target] of Object.entries({ cpu: cpuTarget, card: cardTarget })) {
        const order = runOrder(program, target), found = writersOf(program, order);
        equal(order.length, program.steps.length, name);
        for (const [place, writers] of planned) equal(found.get(place), writers, `${name}: step ${place}`);
      }
    },
  );
}
