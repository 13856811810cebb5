import { join } from "node:path";
import { input as graphInput, storingActivations, type Tensor, timestepEmbedding } from "../../engine/mod.ts";
import { ConfigReader } from "../../models/config_reader.ts";
import { Source } from "../../models/source.ts";
import { readUNetConfig } from "../../models/unet/config.ts";
import { UNet2DConditionModel } from "../../models/unet/unet_2d_condition.ts";
import { Weights } from "../../models/weights.ts";
import {
  activationsOption,
  evaluate,
  freeWeights,
  openWeights,
  type ProbeRequest,
  quietWeights,
  wantsQuietRun,
} from "./context.ts";
import { isSmall, lossGraph, wantedWeights } from "./gradients.ts";
import { option } from "./options.ts";
import {
  hasAny,
  type NamedTensor,
  optionalSetsOf,
  setsOf,
  tensorOf,
  type TensorSet,
  toNchw,
  toNhwc,
} from "./tensors.ts";

/** Options of `unet`. */
export const unetOptions = ["blocks", "context", "activations"];

/**
 * The UNet: for each set `output` (with f16 weights also as `output_f16_weights`), with `cotangent` also `loss` and `grad.<weight>`, `grad.sample`, `grad.context`.
 * For the first set `block.<module>`, as diffusers' modules give it, and `quiet.output`: of a small model (the option `blocks` decides otherwise), or
 * where the input names them.
 * `time_proj.timesteps` gives `time_proj.output`.
 */
export async function probeUnet(request: ProbeRequest): Promise<TensorSet> {
  const { device, folder, input, precision } = request, output: TensorSet = new Map();
  const config = readUNetConfig(await ConfigReader.open(join(folder, "unet", "config.json")));
  const weights = new Weights("unet", precision), observed = new Map<string, Tensor>();
  const model = new UNet2DConditionModel(new Source(weights), config);
  const see = (path: string, tensor: Tensor) => path && observed.set(`block.${path}`, tensor);
  // Blocks come of a model of their own: with nothing fused it is another program than the one that trains.
  const apart = new UNet2DConditionModel(new Source(weights, () => null, [], { see, apart: true }), config);
  const allBlocks = option(request.options, "blocks", isSmall(weights));
  try {
    const waves = input.get("time_proj.timesteps");
    if (waves) await projectTime(waves);
    const sets = waves ? optionalSetsOf(input, "sample") : setsOf(input, "sample");
    if (sets.length > 0) await openWeights(request, weights);
    for (const [index, prefix] of sets.entries()) await run(prefix, index === 0);
    if (sets.length > 0 && wantsQuietRun(request, weights)) {
      await quietWeights(request, weights);
      output.set("quiet.output", await runPlain(sets[0]));
    }
  } finally {
    freeWeights(device, weights);
  }
  return output;

  async function projectTime(timesteps: NamedTensor): Promise<void> {
    const { waves, levels } = config, [count] = timesteps.shape;
    const embedded = timestepEmbedding(graphInput("timesteps", [count]), { size: levels[0].size, ...waves });
    const found = await evaluate(device, { embedded }, { timesteps: timesteps.data });
    output.set("time_proj.output", { shape: embedded.shape, data: found.embedded as Float32Array });
  }

  function trace(prefix: string) {
    const sample = toNhwc(tensorOf(input, `${prefix}sample`)), [batch] = sample.shape;
    const timesteps = input.get(`${prefix}timesteps`) ?? tensorOf(input, "timesteps");
    const context = contextOf(request, prefix, batch);
    const inputs = {
      sample: graphInput("sample", sample.shape),
      context: graphInput("context", context.shape),
    };
    const waves = graphInput("timesteps", timesteps.shape);
    const noise = storingActivations(
      activationsOption(request),
      () => model.forward(inputs.sample, waves, inputs.context),
    );
    const traceBlocks = () => apart.forward(inputs.sample, waves, inputs.context);
    return {
      noise,
      inputs,
      traceBlocks,
      feeds: { sample: sample.data, timesteps: timesteps.data, context: context.data },
    };
  }

  async function runPlain(prefix: string): Promise<NamedTensor> {
    const { noise, feeds } = trace(prefix);
    const found = await evaluate(device, { noise }, feeds);
    return toNchw({ shape: noise.shape, data: found.noise as Float32Array });
  }

  async function run(prefix: string, isFirst: boolean): Promise<void> {
    const { noise, inputs, traceBlocks, feeds } = trace(prefix), outputs: Record<string, Tensor> = { output: noise };
    if (isFirst && (allBlocks || hasAny(input, "block."))) {
      traceBlocks();
      for (const [name, tensor] of observed) if (allBlocks || input.has(name)) outputs[name] = tensor;
    }
    const given = input.get(`${prefix}cotangent`), cotangent = given && toNhwc(given);
    const loss = cotangent &&
      lossGraph(noise, graphInput("cotangent", cotangent.shape), wantedWeights(weights, input), inputs);
    const found = await evaluate(device, { ...outputs, ...loss?.outputs }, {
      ...feeds,
      ...cotangent ? { cotangent: cotangent.data } : {},
    });
    for (const [name, { shape }] of Object.entries(outputs)) {
      const tensor = { shape, data: found[name] as Float32Array };
      output.set(name.startsWith("block.") ? name : prefix + name, shape.length === 4 ? toNchw(tensor) : tensor);
    }
    if (precision === "f16") output.set(`${prefix}output_f16_weights`, output.get(`${prefix}output`)!);
    loss?.collect(found, prefix, output);
    const sample = output.get(`${prefix}grad.sample`);
    if (sample) output.set(`${prefix}grad.sample`, toNchw(sample));
  }
}

/** A set's context: its own, or the file's; of several (`context.77`, `context.152`) the one with the set's batch, or the one that the option names. */
function contextOf({ input, options }: ProbeRequest, prefix: string, batch: number): NamedTensor {
  const own = input.get(`${prefix}context`) ?? input.get("context");
  if (own) return own;
  const named = options.context === undefined ? null : `context.${options.context}`;
  if (named) return tensorOf(input, named);
  const candidates = [...input].filter(([name]) => name.startsWith("context."));
  const fitting = candidates.filter(([, { shape }]) => shape[0] === batch);
  if (fitting.length === 1) return fitting[0][1];
  throw new TypeError(
    `Cannot probe: ${prefix}sample has a batch of ${batch}, ${fitting.length} contexts fit; the input has ${
      candidates.map(([name, { shape }]) => `${name} [${shape.join(", ")}]`).join(", ") || "none"
    }. Name one ${prefix}context, or give the option context`,
  );
}
