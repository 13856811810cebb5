import { join } from "node:path";
import { samplingKey } from "../sampling.ts";
import { sizesOf } from "./sizes.ts";

const cardFields = "name,driver_version,clocks.max.sm,clocks.max.memory,memory.total,power.limit";

/** One part of `bench:gpu`, in a process of its own. */
export interface Piece {
  readonly name: string;
  /** What it finds out. */
  readonly what: string;
  /** A program of the project under Deno, tests of it, a script of Python, or a program of the system, whose lines are text. */
  readonly kind: "deno" | "test" | "python" | "program";
  /** Path of the script from the project's folder, and its words; for tests their files; a program of the system and its words. */
  readonly words: readonly string[];
  /** After which it is ended. */
  readonly seconds: number;
}

/** Where results go, and how sizes are chosen. */
export interface PieceOptions {
  readonly out: string;
  readonly trial: boolean;
}

/** All pieces, in the order of their worth: time may run out before the last. */
export function allPieces({ out, trial }: PieceOptions): Piece[] {
  const { pyTorch: { config, device, precision }, sampling, dualSteps: { both: dual } } = sizesOf(trial);
  const small = trial ? ["--trial"] : [];
  const ours = (mode: "both" | "frozen"): Piece => ({
    name: `dual-${mode}`,
    what: `dual step, ${modeText[mode]}, and where its time goes`,
    kind: "deno",
    words: ["bench/gpu/dual_step.ts", `--mode=${mode}`, `--html=${join(out, `profile-${mode}.html`)}`, ...small],
    // A driver that has not seen them compiles hundreds of kernels.
    seconds: 240,
  });
  const theirs = (mode: "both" | "frozen", backward: "original" | "clean", { single = false } = {}): Piece => ({
    name: `torch-${mode}-${backward}${single ? "-fp32" : ""}`,
    what: `the same in PyTorch, ${backward === "original" ? "the original's loop" : "one backward for all losses"}, ${
      single ? "fp32" : precision
    }`,
    kind: "python",
    words: [
      ...["bench/peers/programs/torch_dual_step.py", `--config=${config}`, `--device=${device}`],
      `--precision=${single ? "fp32" : precision}`,
      ...[`--size=${dual.pixels}`, `--rank=${dual.rank}`, `--mode=${mode}`, `--backward=${backward}`],
      ...["--same-base", `--steps=${trial ? 2 : 20}`, `--warmup=${trial ? 1 : 5}`],
    ],
    seconds: 75,
  });
  const kernels = (name: string, what: string, words: readonly string[], seconds: number): Piece => ({
    ...{ name, what, kind: "deno", seconds },
    words: ["bench/gpu/kernels.ts", ...words, ...small],
  });
  const tiles = (name: string, what: string, words: readonly string[]): Piece => ({
    ...{ name, what, kind: "deno", seconds: 60 },
    words: ["bench/gpu/tiles.ts", ...words, ...small],
  });
  const pieces: Piece[] = [
    {
      name: "card",
      what: "the card, as its driver describes it",
      kind: "program",
      words: ["nvidia-smi", `--query-gpu=${cardFields}`, "--format=csv,noheader"],
      seconds: 15,
    },
    {
      name: "adapter",
      what: "the adapter, its peaks and the host",
      kind: "deno",
      words: ["bench/gpu/adapter.ts"],
      seconds: 30,
    },
    kernels("kernels", "products, convolutions, attention, elementwise kernels and norms beside the peaks", [], 100),
    ours("both"),
    theirs("both", "original"),
    ours("frozen"),
    theirs("frozen", "original"),
    {
      name: "sampling",
      what: "a picture, 20 steps of DDIM with guidance, and in f16 arithmetic",
      kind: "deno",
      words: ["bench/main.ts", "--large", `--only=sampling ${samplingKey(sampling).shape}`, "--seconds=8"],
      seconds: 150,
    },
    {
      name: "torch-sampling",
      what: "the same in diffusers",
      kind: "python",
      words: [
        ...["bench/peers/programs/torch_sampling.py", `--config=${config}`, `--device=${device}`],
        ...[`--precision=${precision}`, `--size=${sampling.pixels}`, `--pictures=${trial ? 1 : 5}`],
      ],
      seconds: 60,
    },
    {
      name: "parity-ops",
      what: "every op's samples, gradients and extremes on this adapter",
      kind: "test",
      words: ["--filter=/as on this adapter|in f16, its/", "tests/engine/ops_test.ts"],
      seconds: 60,
    },
    {
      name: "parity-f16",
      what: "products in f16 arithmetic against their definition",
      kind: "test",
      words: ["engine/ops/kernels/half_product_test.ts"],
      seconds: 30,
    },
    theirs("both", "clean"),
    theirs("frozen", "clean"),
    {
      name: "parity-models",
      what: "a dual step and the models in SD v1.5's sizes, with weights by rule, against PyTorch's figures",
      kind: "test",
      words: ["tests/full/dual_step.ts", "tests/full/models.ts"],
      seconds: 150,
    },
    tiles("tiles", "the tiles that products can have, beside the one that is chosen by counts", []),
    kernels("kernels-rest", "other sizes and ops, and their gradients", ["--rest"], 120),
    tiles("tiles-f16", "the same where halves are multiplied", ["--f16"]),
    theirs("both", "original", { single: true }),
    theirs("frozen", "original", { single: true }),
  ];
  // Of small sizes PyTorch's are in fp32 already, and SD v1.5's own would take a CPU minutes.
  const tooMuch = ["parity-models", "kernels-rest", "torch-both-original-fp32", "torch-frozen-original-fp32"];
  return trial ? pieces.filter(({ name }) => !tooMuch.includes(name)) : pieces;
}

const modeText = { both: "both networks training", frozen: "network 1 frozen" } as const;
