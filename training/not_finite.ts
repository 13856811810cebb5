import { absMax, type Device, isHalf, type Node, observing, plan, type Tensor } from "../engine/mod.ts";
import { packFigures } from "./packed_figures.ts";
import type { StepGraph } from "./step_graph.ts";

/** A step that changed nothing, since a figure of it was NaN or infinite. */
export interface SkippedStep {
  /** From 0. */
  readonly step: number;
  readonly epoch: number;
  /** The figure, such as `loss_2`, and what it was. */
  readonly figure: string;
  readonly value: number;
  /** Where a number was not finite first: `matmul in network_2.unet.mid_block.attentions.0.proj_in`; null where it could not be found again. */
  readonly origin: string | null;
  /** Steps skipped in a row, and in all, this one included. */
  readonly inRow: number;
  readonly total: number;
}

/** What is wrong with a step, for messages: `loss_2 is NaN, first in matmul in network_2.unet.conv_in`. */
export function skipReason({ figure, value, origin }: Pick<SkippedStep, "figure" | "value" | "origin">): string {
  return `${figure} is ${value}${origin ? `, first in ${origin}` : ""}`;
}

/** Training produced NaN, infinity or huge losses, several steps in a row: the weights will not recover. Nothing after the last checkpoint is kept. */
export class DivergedError extends Error {
  override name = "DivergedError";

  /** From 0, the first of the bad steps: what was before it is good. */
  readonly firstStep: number;

  /**
   * @param step From 0.
   * @param options.inRow Bad steps up to this one.
   * @param options.kept What is left to go on from, as a sentence.
   */
  constructor(readonly step: number, readonly reason: string, { inRow = 1, kept = "" } = {}) {
    super(
      `Training diverged in step ${step + 1}: ${reason}. Try a lower learning rate, more warm-up steps or a lower ` +
        `maxGradNorm, 32 bits or bf16 in the place of fp16, and look for damaged pictures${
          kept === "" ? "" : `. ${kept}`
        }`,
    );
    this.firstStep = step - inRow + 1;
  }
}

/** The first figure of a step that is NaN or infinite; null when all are finite. */
export function firstNotFinite(
  figures: Readonly<Record<string, number | number[]>>,
): { figure: string; value: number } | null {
  for (const [figure, values] of Object.entries(figures)) {
    const value = [values].flat().find((value) => !Number.isFinite(value));
    if (value !== undefined) return { figure, value };
  }
  return null;
}

/**
 * Runs a micro-batch again, without changing anything, and looks at the largest magnitude that each op of it makes.
 *
 * @param trace Traces what ran, as it ran.
 * @param feeds What it was fed.
 * @returns The first input or op, in the order of execution, whose numbers are not all finite, and the block it belongs to; null when there is none.
 */
export async function findNotFinite(
  device: Device,
  trace: () => StepGraph,
  feeds: Readonly<Record<string, ArrayLike<number>>>,
): Promise<string | null> {
  const fed = Object.entries(feeds).find(([, values]) => !Array.from(values).every(Number.isFinite));
  if (fed) return `${fed[0]}, which the batch brings`;
  const seen: { node: Node; largest: Tensor }[] = [], changing = new Set<Node>();
  const { packedFigures, effects } = observing((outputs) => {
    const { node } = outputs[0].source as { node: Node };
    // What changes variables would do so again, and so would what depends on it: the sums of micro-batches and all behind them.
    if (node.op.overwrites || node.inputs.some((each) => each && comesFrom(each, changing))) changing.add(node);
    else {
      const floats = outputs.filter(({ dtype }) => dtype === "f32" || isHalf(dtype));
      seen.push(...floats.map((output) => ({ node, largest: absMax(output) })));
    }
  }, trace);
  const ran = new Set(
    plan({ outputs: { figures: packedFigures.tensor }, effects, fused: false }).steps.flatMap((step) =>
      step.kind === "node" ? [step.node] : []
    ),
  );
  const checked = seen.filter(({ node }) => ran.has(node));
  const largest = packFigures(Object.fromEntries(checked.map((each, i) => [`${i}`, each.largest])));
  const program = await device.compile(plan({ outputs: { largest: largest.tensor } }));
  try {
    const { inputs } = program.program;
    program.run(Object.fromEntries(Object.entries(feeds).filter(([name]) => inputs.has(name))));
    const found = largest.unpack((await program.read("largest")).largest);
    const first = checked.find((_, i) => !Number.isFinite(found[i]));
    return first ? `${first.node.op.name} in ${first.node.scope}` : null;
  } finally {
    device.release(program);
  }
}

function comesFrom({ source }: Tensor, nodes: ReadonlySet<Node>): boolean {
  if (source.kind === "view") return comesFrom(source.of, nodes);
  if (source.kind === "pack") return source.parts.some((part) => comesFrom(part.tensor, nodes));
  return source.kind === "node" && nodes.has(source.node);
}
