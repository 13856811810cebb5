import { ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { type Device, type HostArray, input, plan, type Program, type Shape, type Tensor } from "../../engine/mod.ts";
import { SafetensorsFile } from "../../formats/safetensors.ts";
import { weightByRule } from "../../formats/weights_by_rule.ts";
import { ConfigReader } from "../../models/config_reader.ts";
import { fillWeights } from "../../models/load.ts";
import { toCheckpointLayout, type Weights } from "../../models/weights.ts";

const folder = fileURLToPath(new URL("../golden/models/", import.meta.url));

/** The options of a golden's model. */
export function goldenConfig(name: string): Promise<ConfigReader> {
  return ConfigReader.open(`${folder}${name}.config.json`);
}

/** Tensors of a golden file; pictures are NCHW there and NHWC here. */
export class Golden {
  private constructor(private readonly file: SafetensorsFile) {}

  static async open(name: string): Promise<Golden> {
    return new Golden(await SafetensorsFile.open(`${folder}${name}.safetensors`));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.file.close();
  }

  has(name: string): boolean {
    return this.file.tensors.has(name);
  }

  get names(): string[] {
    return [...this.file.tensors.keys()];
  }

  /** Shape as the engine lays the tensor out. */
  shape(name: string): Shape {
    const { shape } = this.file.entry(name), [batch, channels, height, width] = shape;
    return isPicture(name, shape) ? [batch, height, width, channels] : shape;
  }

  /** An input of the graph for a tensor of the golden, under its name. */
  input(name: string, dtype: "f32" | "i32" = "f32"): Tensor {
    return input(name, this.shape(name), dtype);
  }

  /** Elements in the engine's layout. */
  async values(name: string): Promise<Float32Array | Int32Array> {
    const { type, shape } = this.file.entry(name);
    if (type === "I32") return this.file.int32(name);
    const values = await this.file.float32(name);
    return isPicture(name, shape) ? toChannelsLast(values, shape) : values;
  }

  /** Elements for every input of a program. */
  async feeds(program: Program): Promise<Record<string, Float32Array | Int32Array>> {
    const feeds: Record<string, Float32Array | Int32Array> = {};
    for (const name of program.inputs.keys()) feeds[name] = await this.values(name);
    return feeds;
  }
}

/** Gradients of weights stay in PyTorch's layout; every other tensor of four axes is a picture. */
function isPicture(name: string, shape: Shape): boolean {
  return shape.length === 4 && !(name.startsWith("grad.") && name.endsWith(".weight"));
}

function toChannelsLast(values: Float32Array, [batch, channels, height, width]: Shape): Float32Array {
  const result = new Float32Array(values.length), pixels = height * width;
  for (let b = 0; b < batch; b++) {
    for (let c = 0; c < channels; c++) {
      for (let p = 0; p < pixels; p++) {
        result[(b * pixels + p) * channels + c] = values[(b * channels + c) * pixels + p];
      }
    }
  }
  return result;
}

/** ‖a − b‖₂ / ‖b‖₂. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  let difference = 0, size = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    size += b[i] ** 2;
  }
  return Math.sqrt(difference / size);
}

/** Throws unless every result is within the tolerance of the golden of its name; gives the largest error. */
export async function checkAgainst(
  golden: Golden,
  found: Readonly<Record<string, ArrayLike<number>>>,
  tolerance: number,
): Promise<{ name: string; error: number }> {
  let worst = { name: "", error: 0 };
  for (const [name, values] of Object.entries(found)) {
    const error = relativeError(values, await golden.values(name));
    ok(error <= tolerance, `${name}: relative error ${error}, limit ${tolerance}`);
    if (error > worst.error) worst = { name, error };
  }
  ok(worst.error > 0, "nothing was compared");
  return worst;
}

/** Compiles the outputs, runs them once on the golden's inputs, reads them. */
export async function evaluate(
  device: Device,
  outputs: Readonly<Record<string, Tensor>>,
  golden: Golden,
): Promise<Record<string, HostArray>> {
  const compiled = await device.compile(plan({ outputs }));
  compiled.run(await golden.feeds(compiled.program));
  const found = await compiled.read(...Object.keys(outputs));
  device.release(compiled);
  return found;
}

/** Weights by rule; all but norms and transformer blocks times 2^-8, so that norms see variances near their epsilon. */
export async function fillQuietly(device: Device, weights: Weights): Promise<void> {
  await fillWeights(device, weights, ({ key, shape }) => {
    const values = weightByRule(`${weights.name}.${key}`, shape);
    return key.includes("norm") || key.includes("transformer_blocks") ? values : values.map((value) => value / 256);
  });
}

/** Gradients that were computed under `grad.<weight>`, brought to the checkpoint's layout. */
export function inCheckpointLayout(found: Record<string, HostArray>, weights: Weights): Record<string, HostArray> {
  const specs = new Map(weights.all.map((spec) => [`grad.${spec.key}`, spec]));
  return Object.fromEntries(
    Object.entries(found).map(([name, values]) => {
      const spec = specs.get(name);
      return [name, spec ? toCheckpointLayout(values as Float32Array, spec.shape, spec.layout) : values];
    }),
  );
}

/** Weights whose gradients the golden has, as tensors under the golden's names. */
export function gradientTargets(golden: Golden, weights: Weights): Record<string, Tensor> {
  const specs = new Map(weights.all.map((spec) => [spec.key, spec.variable.tensor]));
  return Object.fromEntries(
    golden.names.filter((name) => name.startsWith("grad.")).flatMap((name) => {
      const tensor = specs.get(name.slice("grad.".length));
      return tensor ? [[name, tensor]] : [];
    }),
  );
}
