import { flagGroup } from "./flag.ts";

/** Flags about precision, memory and speed. */
export const memoryFlags = flagGroup("Memory and speed", [
  {
    name: "mixed_precision",
    type: "text",
    default: "no",
    choices: ["no", "fp16", "bf16"],
    from: "both",
    status: {
      means:
        "frozen weights and activations are kept in 16 bits, everything is computed in 32 without --f16_arithmetic; gradients stay in 32 bits, so that nothing has to be scaled",
    },
    does: "16-bit numbers to save memory",
  },
  {
    name: "frozen_weights",
    type: "text",
    default: null,
    choices: ["int8"],
    from: "own",
    status: "works",
    does: "keep the base's weights in 8 bits, for small cards (docs/memory.md); left out, as --mixed_precision says",
  },
  {
    name: "f16_arithmetic",
    type: "switch",
    default: false,
    from: "own",
    status: "works",
    does:
      "multiply in 16 bits what --mixed_precision=fp16 keeps in them, pictures' activations among it: faster on many cards, less exact (docs/f16_arithmetic.md)",
  },
  {
    name: "full_fp16",
    type: "switch",
    default: false,
    from: "both",
    status: {
      refused:
        "trained weights in 16 bits lose updates smaller than a two-thousandth of them, and their gradients underflow; --mixed_precision=fp16 saves most of the memory",
    },
    does: "16-bit gradients as well",
  },
  {
    name: "full_bf16",
    type: "switch",
    default: false,
    from: "newer",
    status: {
      refused:
        "trained weights in 16 bits lose updates smaller than a two-hundredth of them; --mixed_precision=bf16 saves most of the memory",
    },
    does: "16-bit gradients and trained weights as well",
  },
  {
    name: "no_half_vae",
    type: "switch",
    default: false,
    from: "newer",
    status: { means: "no effect: the VAE computes in 32 bits in any case" },
    does: "keep the VAE out of mixed precision",
  },
  {
    name: "gradient_checkpointing",
    type: "switch",
    default: false,
    from: "both",
    status: "works",
    does: "compute activations twice instead of keeping them: less memory (docs/memory.md), more time, the same result",
  },
  {
    name: "xformers",
    type: "switch",
    default: false,
    from: "both",
    status: { means: "no effect: attention is computed in pieces in any case, without its matrix in memory" },
    does: "attention that saves memory",
  },
  {
    name: "mem_eff_attn",
    type: "switch",
    default: false,
    from: "both",
    status: { means: "no effect: attention is computed in pieces in any case, without its matrix in memory" },
    does: "attention that saves memory, where there is no xformers",
  },
  {
    name: "lowram",
    type: "switch",
    default: false,
    from: "both",
    status: { means: "no effect: weights go to the device as they are read in any case" },
    does: "load weights where main memory is small",
  },
  {
    name: "max_data_loader_n_workers",
    type: "integer",
    default: 8,
    from: "both",
    status: { means: "no effect: pictures are read, and encoded where they are not cached, in the same process" },
    does: "processes that load pictures",
  },
  {
    name: "persistent_data_loader_workers",
    type: "switch",
    default: false,
    from: "both",
    status: { means: "no effect: pictures are read, and encoded where they are not cached, in the same process" },
    does: "keep those processes between epochs",
  },
]);
