/**
 * Times the tiles that a product can have on a GPU, those first that take the least time by counts: a JSON line each.
 *
 * @module
 */
import { countOf, secondsOf, taskCommand } from "../../cli/task_command.ts";
import {
  Device,
  type FloatFormat,
  type KernelTarget,
  tilesByCounts,
  type WorkgroupTileShape,
} from "../../engine/mod.ts";
import { deviceMs } from "../device_time.ts";
import { type Line, lineText, type Measured, measureOn } from "../line.ts";
import { nominalOperations, type Op } from "../op_list.ts";
import { prepareOp } from "../ops.ts";

/** Products of SD v1.5 at 512×512, those of LoRA's rank 64 behind them: down, up, and the gradient of a down projection, a long sum for few results. */
const products: readonly Op[] = [
  ...[[320, 64], [640, 32], [1280, 16], [1280, 8]].map(([channels, side]): Op => ({
    op: "conv3x3",
    shape: `1x${side}x${side}x${channels}->${channels}`,
    dims: [1, side, side, channels, channels],
  })),
  ...[[4096, 320, 320], [4096, 320, 2560], [1024, 640, 640], [256, 1280, 1280], [64, 1280, 1280], [77, 768, 320]].map(
    ([m, size, out]): Op => ({ op: "linear", shape: `${m}x${size}->${out}`, dims: [m, size, out] }),
  ),
  ...[[2048, 2048, 2048], [4096, 64, 320], [4096, 320, 64], [64, 320, 4096]].map((dims): Op => ({
    op: "matmul",
    shape: dims.join("x"),
    dims,
  })),
];
const trialProducts: readonly Op[] = [{ op: "matmul", shape: "64x64x512", dims: [64, 64, 512] }];

const options = taskCommand("tiles", "Times the tiles that a product can have on a GPU.")
  .option("--seconds <number>", "for each tile, where the device has no clock", secondsOf, 0.1)
  .option("--most <count>", "tiles of a product", countOf, 10)
  .option("--f16", "operands and results stored in f16, and multiplied in it; f32 when left out")
  .option("--trial", "one small product, on a CPU adapter with a GPU's kernels")
  .parse(Deno.args, { from: "user" }).opts();
const { seconds, most } = options;
const stored: FloatFormat = options.f16 ? "f16" : "f32";
/** An adapter's own facts but for these: a CPU adapter's kernels have no such tiles. */
const asGpu: Partial<KernelTarget> = { cpu: false, subgroupSize: 0, f16Arithmetic: options.f16 === true };

function sizesOf({ op, dims }: Op) {
  const rest = { batch: 1, arithmetics: [options.f16 ? "f16" : "f32"] as const };
  if (op === "matmul") return { ...rest, rows: dims[0], columns: dims[1], sum: dims[2] };
  if (op === "linear") return { ...rest, rows: dims[0], columns: dims[2], sum: dims[1] };
  const [batch, height, width, size, out] = dims;
  return { ...rest, rows: batch * height * width, columns: out, sum: 9 * size };
}

async function measureTile(op: Op, tile: WorkgroupTileShape, place: number): Promise<Line> {
  using device = await Device.open({ target: { ...asGpu, tile } });
  const { rows, columns, depth, splits, parts = 1, rowsEach = 4 } = tile;
  const key = { op: `tile ${op.op}`, shape: op.shape, pass: "forward", dtype: stored } as const;
  return await measureOn(device, key, { seconds }, async (): Promise<Measured> => {
    const { run, wait, check } = await prepareOp(device, op, "forward", stored);
    return {
      run,
      wait,
      figures: async ({ medianMs }) => {
        const ms = await deviceMs(device, run) ?? medianMs;
        return {
          ...{ tile: `${rows}x${columns}x${depth}`, rows_each: rowsEach, splits, parts, by_counts: place },
          ...{ device_ms: ms, gflops: nominalOperations(op, "forward")! / ms / 1e6, check: await check() },
        };
      },
    };
  });
}

using device = await Device.open({ target: asGpu });
for (const op of options.trial ? trialProducts : products) {
  const tiles = tilesByCounts(sizesOf(op), device.facts.target, most);
  for (const [place, tile] of tiles.entries()) console.log(lineText(await measureTile(op, tile, place + 1)));
}
