/**
 * Measures the adapter's peaks, the engine's ops, the dual step, sampling, loading and start-up, and prints a JSON line for each: `deno task bench [--seconds=8] [--only=text] [--large]`.
 *
 * bench/README.md says what the lines mean.
 *
 * @module
 */
import { secondsOf, taskCommand } from "../cli/task_command.ts";
import { Device, NoAdapterError } from "../engine/mod.ts";
import { dualStepKey, dualSteps, measureDualStep } from "./dual_step.ts";
import { type Line, type LineKey, lineText } from "./line.ts";
import { loadingKey, measureToyLoading } from "./loading.ts";
import { passes, readOps } from "./op_list.ts";
import { measureOp } from "./ops.ts";
import { measureSampling, samplingKey, samplings } from "./sampling.ts";
import { measureRoofline, rooflineLine, rooflineText } from "./roofline.ts";
import { measureStartUp, startUpKey } from "./start_up.ts";

/** What the command line asks for. */
interface Options {
  readonly seconds: number;
  /** Part of "op shape" that a line must have. */
  readonly only: string;
  readonly large: boolean;
}

function readOptions(args: string[]): Options {
  const values = taskCommand(
    "deno task bench",
    "Measures the adapter's peaks, the engine's ops, the dual step, sampling, loading and start-up: a JSON line each.",
  )
    .option("--seconds <number>", "for each line", secondsOf, 8)
    .option("--only <text>", 'lines that have this in their "op shape"', "")
    .option("--large", "sizes of SD v1.5, too")
    .parse(args, { from: "user" }).opts();
  return { ...values, large: values.large === true };
}

async function* measureAll({ seconds, only, large }: Options): AsyncGenerator<Line> {
  const chosen = ({ op, shape }: Pick<LineKey, "op" | "shape">) => `${op} ${shape}`.includes(only);
  if (chosen({ op: "roofline", shape: "" })) {
    using device = await Device.open();
    const roofline = await measureRoofline(device, { seconds: seconds / 4 });
    console.error(rooflineText(roofline));
    yield rooflineLine(roofline);
  }
  for (const op of await readOps()) {
    if ((op.large && !large) || !chosen(op)) continue;
    for (const pass of passes) yield await measureOp(op, pass, { seconds });
  }
  for (const step of dualSteps) {
    if ((!step.large || large) && chosen(dualStepKey(step))) yield await measureDualStep(step, { seconds });
  }
  for (const sampling of samplings) {
    if ((!sampling.large || large) && chosen(samplingKey(sampling))) yield await measureSampling(sampling, { seconds });
  }
  if (chosen(loadingKey)) yield await measureToyLoading();
  if (chosen(startUpKey)) yield await measureStartUp();
}

function optionsOrExit(): Options {
  try {
    return readOptions(Deno.args);
  } catch (error) {
    console.error((error as Error).message);
    Deno.exit(2);
  }
}

const options = optionsOrExit();
try {
  for await (const line of measureAll(options)) console.log(lineText(line));
} catch (error) {
  if (!(error instanceof NoAdapterError)) throw error;
  console.error(error.message);
  Deno.exit(2);
}
