/**
 * Measures kernels beside the adapter's peaks, by the device's own clock: a JSON line each, those that are judged first.
 *
 * @module
 */
import { secondsOf, taskCommand } from "../../cli/task_command.ts";
import { Device, type FloatFormat } from "../../engine/mod.ts";
import { deviceMs } from "../device_time.ts";
import { f16Arithmetic, type Line, lineText, type Measured, measureLine } from "../line.ts";
import { nominalBytes, nominalOperations, type Op, type Pass, readOps } from "../op_list.ts";
import { prepareOp } from "../ops.ts";
import { type MeasuredPeaks, measureRoofline, rooflineLine, shareOfPeak } from "../roofline.ts";
import { judgedOps, sizesOf } from "./sizes.ts";

const options = taskCommand("kernels", "Measures kernels beside the adapter's peaks, by the device's own clock.")
  .option("--seconds <number>", "for each line", secondsOf, 0.4)
  .option("--rest", "what is not judged: other sizes, and gradients of other ops")
  .option("--trial", "small sizes")
  .parse(Deno.args, { from: "user" }).opts();
const { seconds } = options, sizes = sizesOf(options.trial === true);

/** A pass of an op in a format. */
interface Kernel {
  readonly op: Op;
  readonly pass: Pass;
  readonly stored: FloatFormat;
  /** Whether f16 is multiplied in f16 as well. */
  readonly inF16?: boolean;
}

const bytesOf = { f32: 4, f16: 2, bf16: 2 } as const;

/** Judged ones by forms, so that a time limit takes gradients first; the rest by ops. */
function chosenOf(ops: readonly Op[]): Kernel[] {
  const isJudged = ({ op, shape }: Op) => (sizes as Partial<Record<Op["op"], readonly string[]>>)[op]?.includes(shape);
  const forms = [["forward", "f32"], ["forward", "f16"], ["forward+gradient", "f32"]] as const;
  const kernels = (of: readonly Op[]) => forms.map(([pass, stored]) => of.map((op): Kernel => ({ op, pass, stored })));
  if (options.rest) {
    const others = ops.filter((op) => !isJudged(op));
    return others.flatMap((op) => kernels([op]).flat());
  }
  const products = ops.filter((op) => (op.op === "matmul" || op.op === "conv3x3") && isJudged(op));
  const inF16 = products.map((op): Kernel => ({ op, pass: "forward", stored: "f16", inF16: true }));
  return [...kernels(judgedOps.flatMap((name) => ops.filter((op) => op.op === name && isJudged(op)))).flat(), ...inF16];
}

async function measureKernel({ op, pass, stored, inF16 }: Kernel, peaks: MeasuredPeaks): Promise<Line> {
  const { halfGflops } = peaks, peak = inF16 && halfGflops !== null ? { ...peaks, gflops: halfGflops } : peaks;
  const key = { op: op.op, shape: op.shape, pass, dtype: inF16 ? f16Arithmetic : stored };
  return await measureLine(key, { seconds }, async (device): Promise<Measured> => {
    const { run, wait, check } = await prepareOp(device, op, pass, stored), operations = nominalOperations(op, pass);
    return {
      run,
      wait,
      figures: async ({ medianMs }) => {
        const ms = await deviceMs(device, run) ?? medianMs, bytes = nominalBytes(op, pass, bytesOf[stored]);
        return {
          device_ms: ms,
          gflops: operations && operations / ms / 1e6,
          ...shareOfPeak(peak, { operations: operations ?? 0, bytes, ms }),
          check: await check(),
        };
      },
    };
  });
}

const roofline = await (async () => {
  using device = await Device.open();
  return await measureRoofline(device, { seconds: 1 });
})();
console.log(lineText(rooflineLine(roofline)));
for (const kernel of chosenOf(await readOps())) {
  console.log(lineText(await measureKernel(kernel, roofline.byClock)));
}
