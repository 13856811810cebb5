import type { Program, ProgramTimes } from "../../engine/mod.ts";
import { stepOperations } from "../operations.ts";
import { type Peaks, shareOfPeak } from "../roofline.ts";

/** One row of a profile: steps that have an op or a scope in common. */
export interface ProfileRow {
  readonly name: string;
  /** Steps of the program: some share a dispatch, and its time. */
  readonly steps: number;
  readonly milliseconds: number;
  /** Nominal operations per second, in GFLOP/s; 0 where no products are counted. */
  readonly gflops: number;
  /** Bytes bound per second, in GB/s: what is read and written at least once. */
  readonly gigabytes: number;
  /** Part of the adapter's peak, in arithmetic or memory, whichever bounds each step. */
  readonly share: number;
}

/** Where the time of one program went. */
export interface ProgramProfile {
  /** Top scopes of its steps: `network_1, network_2, orthogonality`. */
  readonly name: string;
  readonly runs: number;
  /** Milliseconds on the device for one run. */
  readonly milliseconds: number;
  /** Milliseconds of the host to feed and encode one run; null when only timed runs were made. */
  readonly hostMilliseconds: number | null;
  readonly dispatches: number;
  readonly bytesMoved: number;
  readonly byOp: readonly ProfileRow[];
  /** The same by op and shapes of what it reads: `conv2d [1, 64, 64, 320], [3, 3, 320, 320]`. */
  readonly bySize: readonly ProfileRow[];
  readonly tree: ProfileNode;
}

/** A scope with the time of all steps in it. */
export interface ProfileNode {
  readonly name: string;
  milliseconds: number;
  steps: number;
  readonly children: Map<string, ProfileNode>;
}

/** Steps of one op, summed. */
interface OpSum {
  steps: number;
  milliseconds: number;
  operations: number;
  bytes: number;
  /** Milliseconds that they would take at the adapter's peaks. */
  leastMs: number;
}

/** Groups a program's step times by op and by scope. */
export function profileOf(
  { program, stepMs, runs, allRuns, hostMs, hostRuns, dispatches }: ProgramTimes,
  peaks: Peaks,
): ProgramProfile {
  const ops = new Map<string, OpSum>(), sizes = new Map<string, OpSum>();
  const tree = newNode("step");
  let bytesMoved = 0;
  for (const [index, step] of program.steps.entries()) {
    if (step.kind === "clear") continue;
    const milliseconds = stepMs[index] / runs, op = step.kind === "node" ? step.node.op.name : step.kind;
    const scope = step.kind === "node" ? step.node.scope : step.scope;
    const bytes = step.bindings.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0), operations = stepOperations(step);
    const work = { milliseconds, operations, bytes, leastMs: shareOfPeak(peaks, { operations, bytes, ms: 1 }).share };
    bytesMoved += bytes;
    addTo(ops, op, work);
    addTo(sizes, sizedName(op, step), work);
    let node = tree;
    for (const part of ["", ...scope.split(".").filter(Boolean), op]) {
      if (part) {
        if (!node.children.has(part)) node.children.set(part, newNode(part));
        node = node.children.get(part)!;
      }
      node.milliseconds += milliseconds;
      node.steps++;
    }
  }
  return {
    name: topScopes(program),
    runs: allRuns,
    milliseconds: tree.milliseconds,
    hostMilliseconds: hostRuns ? hostMs / hostRuns : null,
    dispatches,
    bytesMoved,
    byOp: rowsOf(ops),
    bySize: rowsOf(sizes),
    tree,
  };
}

function addTo(sums: Map<string, OpSum>, name: string, work: Omit<OpSum, "steps">): void {
  const sum = sums.get(name) ?? { steps: 0, milliseconds: 0, operations: 0, bytes: 0, leastMs: 0 };
  sum.steps++;
  sum.milliseconds += work.milliseconds;
  sum.operations += work.operations;
  sum.bytes += work.bytes;
  sum.leastMs += work.leastMs;
  sums.set(name, sum);
}

/** Longest first. */
function rowsOf(sums: ReadonlyMap<string, OpSum>): ProfileRow[] {
  return [...sums].map(([name, { steps, milliseconds, operations, bytes, leastMs }]) => ({
    name,
    steps,
    milliseconds,
    gflops: operations / milliseconds / 1e6,
    gigabytes: bytes / milliseconds / 1e6,
    share: leastMs / milliseconds,
  })).toSorted((a, b) => b.milliseconds - a.milliseconds);
}

function sizedName(op: string, step: Program["steps"][number]): string {
  const inputs = step.kind === "node" ? step.node.inputs : [];
  return [op, inputs.flatMap((tensor) => tensor ? [`[${tensor.shape.join(", ")}]`] : []).join(", ")].join(" ").trim();
}

/** A profile as lines of text: a summary, then the ops, longest first. */
export function profileText(profile: ProgramProfile): string {
  const { name, runs, milliseconds, hostMilliseconds, dispatches, bytesMoved, byOp } = profile;
  const host = hostMilliseconds === null
    ? ""
    : `; host ${hostMilliseconds.toFixed(2)} ms, ${(100 * hostMilliseconds / milliseconds).toFixed(1)} % of it`;
  const lines = [
    `${name}: ${milliseconds.toFixed(1)} ms a run, ${runs} runs, ${dispatches} dispatches, ${
      (bytesMoved / 1e6).toFixed(1)
    } MB bound${host}`,
    "  op                                  ms       %        steps   µs each   GFLOP/s   GB/s  % of peak",
  ];
  for (const row of byOp) {
    lines.push(
      `  ${row.name.padEnd(32)}${row.milliseconds.toFixed(2).padStart(8)}${
        (100 * row.milliseconds / milliseconds).toFixed(1).padStart(7)
      }${String(row.steps).padStart(10)}${(1e3 * row.milliseconds / row.steps).toFixed(0).padStart(12)}${
        (row.gflops ? row.gflops.toFixed(2) : "").padStart(10)
      }${row.gigabytes.toFixed(2).padStart(9)}${(100 * row.share).toFixed(1).padStart(11)}`,
    );
  }
  return lines.join("\n");
}

function newNode(name: string): ProfileNode {
  return { name, milliseconds: 0, steps: 0, children: new Map() };
}

function topScopes(program: Program): string {
  const found = new Set<string>();
  for (const step of program.steps) {
    const scope = step.kind === "node" ? step.node.scope : step.kind === "copy" ? step.scope : "";
    found.add(scope.split(".")[0] || "the rest");
  }
  return [...found].join(", ");
}
