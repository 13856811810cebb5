import { type DualTraining, encodingBytes, type Precision, samplingBytes, trainingBytes } from "./figures.ts";
import { markdownTable } from "../../steps/report/markdown_table.ts";

/** What is kept in 16 bits, by `mixedPrecision` of the bases and of the training. */
const storages: readonly { name: string; precision: Precision; activations: Precision }[] = [
  { name: "nothing", precision: "f32", activations: "f32" },
  { name: "frozen weights", precision: "f16", activations: "f32" },
  { name: "weights, activations", precision: "f16", activations: "f16" },
];
const ordinary: DualTraining = {
  bases: 1,
  precision: "f16",
  activations: "f16",
  network1Trains: true,
  gradientCheckpointing: false,
  pixels: 512,
  batch: 1,
  rank: 64,
};

/** `docs/memory.md`: what training, caching and sampling take on the device, from their plans. */
export async function memoryPage(): Promise<string> {
  return `# Memory

What SD v1.5 takes of the device's memory, in GB (10⁹ bytes). All of it is planned before a device is asked for, and a device
allocates exactly that (\`tests/steps/memory_test.ts\` counts it); the driver's own needs come on top, and on a GPU at most 17 MB of
scratch memory for each set of programs that take turns ([0092](decisions/0092-sums-in-two-dispatches.md)). \`describe()\` and
\`deno task train --describe\` say it of any recipe.

Written by \`deno task memory\`; a test compares.

## Training

Two networks, 512×512 pixels, batch 1, rank 64, AdamW. \`--mixed_precision\` fp16 or bf16 keeps frozen weights and activations in
16 bits; all else is f32.

${await precisionTable()}

With \`--frozen_weights int8\`, weights of linear layers and convolutions in 8 bits, all other weights and activations in 16. What
the error is: [0056](decisions/0056-eight-bit-weights.md).

${await eightBitTable()}

Larger pictures and batches: both networks train on one base, weights and activations in 16 bits, rank 64.

${await sizeTable()}

What it is made of: one base, weights and activations in 16 bits, 512×512, batch 1.

${await partsTable()}

- *Bases*: frozen weights of text encoder and UNet, all that is loaded. The VAE is on the device while pictures are encoded or
  made, and at no other time. Where a training makes pictures, or encodes them in every step, its \`peak gpu\` counts what
  that takes as well.
- *Networks*: their weights, and AdamW's two moments where a network trains.
- *Step*: activations, gradients, and everything else that a step makes and drops. Nothing of it grows with the square of the
  pixels: attention keeps no matrix of tokens by tokens.
- Gradient checkpointing keeps what lies between blocks, and computes their insides again
  ([0020](decisions/0020-gradient-checkpointing.md)).
- A short last batch, micro-batches and pictures of other shapes have programs of their own, which share one pool of buffers
  ([0021](decisions/0021-one-pool-of-slots.md)).

## Caching and sampling

One base, its weights in 16 bits, all else in 32. One picture at a time, sampled with two networks of rank 64.

${await otherTable()}

## Limits of adapters

Every adapter binds 128 MiB of a buffer at once. Tables and networks that are larger are bound in parts
([0019](decisions/0019-bindings-in-parts.md)). What cannot be bound in parts is found before a run's first step: the message
names the op, its place in the model, the tensor, its bytes and the limit.
`;
}

async function precisionTable(): Promise<string> {
  const rows = [];
  for (const bases of [1, 2] as const) {
    for (const network1Trains of [true, false]) {
      for (const { name, ...storage } of storages) {
        const cells = await bothWays({ ...ordinary, bases, network1Trains, ...storage });
        rows.push([bases === 1 ? "one" : "two", network1Trains ? "trains" : "frozen", name, ...cells]);
      }
    }
  }
  return markdownTable(["Bases", "Network 1", "In 16 bits", "Kept", "With gradient checkpointing"], rows);
}

async function eightBitTable(): Promise<string> {
  const rows = [];
  for (const bases of [1, 2] as const) {
    for (const network1Trains of [true, false]) {
      const cells = await bothWays({ ...ordinary, bases, network1Trains, frozenWeights: "int8" });
      rows.push([bases === 1 ? "one" : "two", network1Trains ? "trains" : "frozen", ...cells]);
    }
  }
  return markdownTable(["Bases", "Network 1", "Kept", "With gradient checkpointing"], rows);
}

async function sizeTable(): Promise<string> {
  const rows = [];
  for (const pixels of [512, 640, 768]) {
    for (const batch of [1, 2, 4]) {
      rows.push([`${pixels}×${pixels}`, `${batch}`, ...await bothWays({ ...ordinary, pixels, batch })]);
    }
  }
  return markdownTable(["Pictures", "Batch", "Kept", "With gradient checkpointing"], rows);
}

async function partsTable(): Promise<string> {
  const rows = [];
  for (const network1Trains of [true, false]) {
    for (const gradientCheckpointing of [false, true]) {
      const { bases, networks, slots, all } = await trainingBytes({
        ...ordinary,
        network1Trains,
        gradientCheckpointing,
      });
      const name = `network 1 ${network1Trains ? "trains" : "frozen"}${gradientCheckpointing ? ", checkpointing" : ""}`;
      rows.push([name, ...[bases, networks, slots, all].map(gigabytes)]);
    }
  }
  return markdownTable(["", "Bases", "Networks", "Step", "Together"], rows);
}

async function otherTable(): Promise<string> {
  const rows = [];
  for (const pixels of [512, 768]) {
    const { precision, rank } = ordinary;
    const bytes = [await encodingBytes({ precision, pixels }), await samplingBytes({ precision, pixels, rank })];
    rows.push([`${pixels}×${pixels}`, ...bytes.map(gigabytes)]);
  }
  return markdownTable(["Pictures", "Caching latents", "Sampling"], rows);
}

/** Without and with gradient checkpointing. */
async function bothWays(training: DualTraining): Promise<string[]> {
  const all = [];
  for (const gradientCheckpointing of [false, true]) {
    all.push(gigabytes((await trainingBytes({ ...training, gradientCheckpointing })).all));
  }
  return all;
}

function gigabytes(bytes: number): string {
  return (bytes / 1e9).toFixed(1);
}
