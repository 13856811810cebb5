import { deepEqual, equal, ok } from "node:assert/strict";
import { dualStepProgram } from "../../bench/dual_step.ts";
import { type Dispatch, dispatchesOf } from "../../engine/gpu/dispatches.ts";
import { countDispatches } from "../../engine/mod.ts";
import { cardTarget, cpuTarget } from "../engine/targets.ts";

/** Whether two bindings show the same bytes, and one of them is for writing. WebGPU's "encoder bind groups alias a writable resource". */
function writesTwice({ bindings }: Dispatch): boolean {
  const where = (buffer: Dispatch["bindings"][number]["buffer"]) =>
    buffer.kind === "slot" ? buffer.slot : buffer.kind === "variable" ? buffer.variable : buffer.kind;
  return bindings.some((a, i) =>
    bindings.slice(0, i).some((b) =>
      where(a.buffer) === where(b.buffer) && (a.access === "read_write" || b.access === "read_write") &&
      a.offsetBytes < b.offsetBytes + b.sizeBytes && b.offsetBytes < a.offsetBytes + a.sizeBytes
    )
  );
}

for (const mode of ["both", "frozen"] as const) {
  const step = { base: "toy", pixels: 128, rank: 16, batches: [1, 1], mode, precision: "f32" } as const;

  Deno.test(
    `a dual step of the small base takes at most 60 % of its graph's dispatches, network 1 ${
      mode === "both" ? "training" : "frozen"
    }`,
    async () => {
      const whole = await dualStepProgram(step, { fused: false }), fused = await dualStepProgram(step);
      for (const [name, target] of Object.entries({ cpu: cpuTarget, card: cardTarget })) {
        const count = countDispatches(fused, target), of = countDispatches(whole, target);
        equal(
          of,
          whole.steps.filter(({ kind }) => kind !== "clear").length,
          "nothing is joined unless it is asked for",
        );
        ok(count <= 0.6 * of, `${name}: ${count} of ${of}`);
      }
    },
  );

  Deno.test(
    `no dispatch of a dual step binds what another of its bindings writes, network 1 ${
      mode === "both" ? "training" : "frozen"
    }`,
    async () => {
      const program = await dualStepProgram(step);
      for (const target of [cpuTarget, cardTarget]) {
        const dispatches = dispatchesOf(program, target).filter((each) => "kernel" in each);
        deepEqual(dispatches.filter(writesTwice).map(({ label }) => label), []);
      }
    },
  );

  Deno.test(
    `nothing in front of the first module gets a gradient, network 1 ${mode === "both" ? "training" : "frozen"}`,
    async () => {
      const program = await dualStepProgram(step), backward = new Set<string>();
      for (const each of program.steps) {
        if (each.kind === "node" && each.node.op.name.includes("gradient")) backward.add(each.node.scope);
      }
      const networks = mode === "both" ? [1, 2] : [2];
      ok(networks.every((k) => [...backward].some((scope) => scope.startsWith(`network_${k}.unet.down_blocks.0`))));
      // LoRA modules begin in the first level's transformer, and in the first layer's attention of the text encoder.
      const infront = [
        /^network_\d\.unet\.(conv_in|time_)/,
        /^network_\d\.unet\.down_blocks\.0\.resnets\.0/,
        /^network_\d\.unet\.down_blocks\.0\.attentions\.0\.norm$/,
        /^network_\d\.text_encoder\.text_model\.embeddings/,
        /^network_\d\.text_encoder\.text_model\.encoder\.layers\.0\.layer_norm1/,
      ];
      deepEqual([...backward].filter((scope) => infront.some((pattern) => pattern.test(scope))), []);
      if (mode === "frozen") deepEqual([...backward].filter((scope) => scope.startsWith("network_1")), []);
    },
  );
}
