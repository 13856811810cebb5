import { f16Arithmetic, type Line } from "../line.ts";
import { type judgedOps, type Sizes, stepShapes } from "./sizes.ts";

/** One thing that is wanted of a GPU, and what the lines say of it. */
export interface Finding {
  readonly target: string;
  readonly wanted: string;
  /** The figure, or why there is none. */
  readonly found: string;
  /** `–`: nothing is wanted of it, it stands beside the others. */
  readonly verdict: "met" | "not met" | "no figure" | "–";
}

/** Why a figure is not there: of the piece that would have given it. */
export type WhyMissing = (piece: string) => string;

type OpName = (typeof judgedOps)[number];

/** Shares of the peak, in arithmetic or in bandwidth. */
const kernelTargets: readonly { ops: readonly OpName[]; dtype?: string; least: number; of: string; name: string }[] = [
  { name: "f32 product", ops: ["matmul"], dtype: "f32", least: 0.5, of: "f32 peak" },
  { name: "product, f16 storage", ops: ["matmul"], dtype: "f16", least: 0.5, of: "f32 peak" },
  { name: "3×3 convolutions", ops: ["conv3x3"], least: 0.45, of: "f32 peak" },
  { name: "attention", ops: ["attention"], least: 0.35, of: "f32 peak" },
  {
    name: "elementwise kernels and norms",
    ops: ["silu", "group_norm_silu", "layer_norm"],
    least: 0.7,
    of: "bandwidth",
  },
];

const modes = {
  frozen: { name: "network 1 frozen", most: 1, wanted: "below 1.00 of PyTorch's time" },
  both: { name: "both training", most: 1.5, wanted: "at most 1.50 of PyTorch's time" },
} as const;

const mostHostShare = 0.05, mostSampling = 2;

/** Holds lines of `bench:gpu` against what is wanted. Of several lines of one thing the last counts. */
export function judge(lines: readonly Line[], sizes: Sizes, why: WhyMissing): Finding[] {
  return [
    ...kernelTargets.map((target) => judgeKernels(lines, sizes, why, target)),
    ...(["frozen", "both"] as const).flatMap((mode) => [
      judgeStep(lines, sizes, why, mode, "original"),
      judgeStep(lines, sizes, why, mode, "clean"),
      judgeHost(lines, sizes, why, mode),
    ]),
    judgeSampling(lines, sizes, why, dtypeOf(sizes.pyTorch.precision)),
    judgeSampling(lines, sizes, why, f16Arithmetic),
  ];
}

function judgeKernels(
  lines: readonly Line[],
  sizes: Sizes,
  why: WhyMissing,
  { name, ops, dtype, least, of }: (typeof kernelTargets)[number],
): Finding {
  const target = `${name}: ${
    ops.flatMap((op) => sizes[op].map((shape) => ops.length > 1 ? `${op} ${shape}` : shape)).join(", ")
  }`;
  const wanted = `at least ${percent(least)} of the ${of}`;
  const all = lastOf(lines, ({ op, shape, pass, dtype }) => `${op} ${shape} ${pass} ${dtype}`)
    .filter(({ peer, op, shape }) =>
      peer === "dualora" && ops.some((each) => each === op && sizes[each].includes(shape as string))
    )
    .filter((line) =>
      dtype === undefined ? line.dtype !== f16Arithmetic : line.dtype === dtype && line.pass === "forward"
    );
  const measured = all.filter(({ share }) => share !== undefined)
    .toSorted((a, b) => Number(a.share) - Number(b.share));
  const missing = ops.flatMap((op) =>
    sizes[op].filter((shape) => !measured.some((line) => line.op === op && line.shape === shape))
  );
  if (measured.length === 0) return { target, wanted, found: skippedText(all) ?? why("kernels"), verdict: "no figure" };
  const text = (line: Line) => `${percent(Number(line.share))} (${lineName(line)})`;
  const lowest = measured[0], highest = measured[measured.length - 1];
  const below = measured.filter(({ share }) => Number(share) < least).length;
  const found = measured.length === 1
    ? text(lowest)
    : `${text(lowest)} to ${text(highest)}; ${measured.length - below} of ${measured.length} reach it`;
  if (missing.length === 0) return { target, wanted, found, verdict: below === 0 ? "met" : "not met" };
  return {
    target,
    wanted,
    found: `${found}; no figure of ${missing.join(", ")}`,
    verdict: below === 0 ? "no figure" : "not met",
  };
}

/** Time of ours by PyTorch's. */
function judgeStep(
  lines: readonly Line[],
  sizes: Sizes,
  why: WhyMissing,
  mode: keyof typeof modes,
  backward: "original" | "clean",
): Finding {
  const { precision } = sizes.pyTorch, shape = stepShapes(sizes)[mode], { name, most } = modes[mode];
  const isAsked = backward === "original", loop = isAsked ? "the original's loop" : "one backward for all losses";
  const target = `dual step, ${name}, beside PyTorch in ${precision}, ${loop}: ${shape}`;
  const wanted = isAsked ? modes[mode].wanted : "not asked for";
  const steps = lines.filter((line) => line.op === "dual_step" && line.shape === shape);
  const ours = lastLine(steps, ({ peer }) => peer === "dualora");
  const theirs = lastLine(steps, ({ peer, dtype }) => isPyTorch(peer, backward) && dtype === dtypeOf(precision));
  const ratio = ratioOf(ours, theirs);
  if (ratio === null) {
    const found = msOf(ours) === null
      ? skippedText([ours]) ?? why(`dual-${mode}`)
      : skippedText([theirs]) ?? why(`torch-${mode}-${backward}`);
    return { target, wanted, found: `${timesText(ours, theirs)}${found}`, verdict: isAsked ? "no figure" : "–" };
  }
  const isMet = mode === "frozen" ? ratio < most : ratio <= most;
  const verdict = !isAsked ? "–" : isMet ? "met" : "not met";
  return { target, wanted, found: `${ratio.toFixed(2)}: ${timesText(ours, theirs)}`, verdict };
}

/** What the clock sees beyond the kernels' own time: at least all that the host's work costs. */
function judgeHost(lines: readonly Line[], sizes: Sizes, why: WhyMissing, mode: keyof typeof modes): Finding {
  const shape = stepShapes(sizes)[mode];
  const target = `host overhead of the dual step, ${modes[mode].name}`, wanted = `at most ${percent(mostHostShare)}`;
  const step = lastLine(lines, ({ peer, op, shape: own }) => peer === "dualora" && op === "dual_step" && own === shape);
  const profile = lastLine(lines, (line) => line.op === "profile" && line.by === "step" && line.shape === shape);
  const ms = msOf(step), deviceMs = profile && typeof profile.device_ms === "number" ? profile.device_ms : null;
  if (ms === null || deviceMs === null) {
    const reason = profile && ms !== null
      ? "the adapter has no timestamps"
      : skippedText([step]) ?? why(`dual-${mode}`);
    return { target, wanted, found: reason, verdict: "no figure" };
  }
  const beyond = Math.max(0, 1 - deviceMs / ms), work = Number(profile!.host_ms) / ms;
  return {
    target,
    wanted,
    found: `${percent(beyond)} at most: of ${ms.toFixed(1)} ms by the clock kernels take ${deviceMs.toFixed(1)}, ` +
      `the rest is waits for the host, readback, and gaps between kernels; the host's work, overlapped or not, is ${
        percent(work)
      }`,
    verdict: ms - deviceMs <= mostHostShare * ms ? "met" : "not met",
  };
}

/** @param dtype Of our line. */
function judgeSampling(lines: readonly Line[], sizes: Sizes, why: WhyMissing, dtype: string): Finding {
  const { precision } = sizes.pyTorch, shape = stepShapes(sizes).picture;
  const own = dtype === f16Arithmetic ? "sampling in f16 arithmetic" : "sampling";
  const target = `${own} beside diffusers in ${precision}: ${shape}`,
    wanted = `at most ${mostSampling.toFixed(2)} of its time`;
  const pictures = lines.filter((line) => line.op === "sampling" && line.shape === shape);
  const ours = lastLine(pictures, (line) => line.peer === "dualora" && line.dtype === dtype);
  const theirs = lastLine(pictures, ({ peer, dtype }) => isPyTorch(peer, "diffusers") && dtype === dtypeOf(precision));
  const ratio = ratioOf(ours, theirs);
  if (ratio === null) {
    const found = msOf(ours) === null
      ? skippedText([ours]) ?? why("sampling")
      : skippedText([theirs]) ?? why("torch-sampling");
    return { target, wanted, found: `${timesText(ours, theirs)}${found}`, verdict: "no figure" };
  }
  return {
    target,
    wanted,
    found: `${ratio.toFixed(2)}: ${timesText(ours, theirs)}`,
    verdict: ratio <= mostSampling ? "met" : "not met",
  };
}

/** Of lines that are alike the last, in the order of the first. */
export function lastOf(lines: readonly Line[], key: (line: Line) => string): Line[] {
  return [...new Map(lines.map((line) => [key(line), line])).values()];
}

function lastLine(lines: readonly Line[], is: (line: Line) => boolean): Line | undefined {
  return lines.findLast(is);
}

/** Peers of PyTorch's programs: `torch 2.11 original sdp`, `torch 2.11 diffusers`. */
function isPyTorch(peer: Line[string], variant: string): boolean {
  const words = String(peer).split(" ");
  return words[0] === "torch" && words.includes(variant);
}

function dtypeOf(precision: Sizes["pyTorch"]["precision"]): string {
  return precision === "fp16" ? "f16" : "f32";
}

function msOf(line: Line | undefined): number | null {
  return typeof line?.ms_median === "number" ? line.ms_median : null;
}

function ratioOf(ours: Line | undefined, theirs: Line | undefined): number | null {
  const [own, other] = [msOf(ours), msOf(theirs)];
  return own === null || other === null ? null : own / other;
}

function timesText(ours: Line | undefined, theirs: Line | undefined): string {
  const texts = ([["ours", ours], ["theirs", theirs]] as const).flatMap(([name, line]) => {
    const ms = msOf(line);
    return ms === null ? [] : [`${name} ${ms.toFixed(1)} ms`];
  });
  return texts.length === 2 ? texts.join(", ") : texts.map((text) => `${text}; `).join("");
}

function skippedText(lines: readonly (Line | undefined)[]): string | null {
  const skipped = lines.findLast((line) => line?.skipped !== undefined)?.skipped;
  return skipped === undefined ? null : String(skipped);
}

/** A kernel, as the report names it. */
export function lineName({ op, shape, pass, dtype }: Line): string {
  return `${op} ${shape}${pass === "forward" ? "" : " + gradient"} ${dtype}`;
}

/** A share with a digit behind the point. */
export function percent(share: number): string {
  return `${Number((100 * share).toFixed(1))} %`;
}
