import { join } from "node:path";
import { input as graphInput, storingActivations, type Tensor } from "../../engine/mod.ts";
import { readTextEncoderConfig } from "../../models/clip/config.ts";
import { CLIPTextModel } from "../../models/clip/text_encoder.ts";
import { ConfigReader } from "../../models/config_reader.ts";
import { Source } from "../../models/source.ts";
import { Weights } from "../../models/weights.ts";
import { activationsOption, checkIds, evaluate, freeWeights, openWeights, type ProbeRequest } from "./context.ts";
import { isSmall, lossGraph, wantedWeights } from "./gradients.ts";
import { countOption } from "./options.ts";
import { hasAny, type NamedTensor, setsOf, tensorOf, type TensorSet } from "./tensors.ts";

const tokenTable = "text_model.embeddings.token_embedding.weight";

/** Options of `text-encoder`. */
export const textEncoderOptions = ["clip_skip", "activations"];

/**
 * CLIP's text encoder. Ids of one row `[batch, 77]` give `last_hidden_state`, `clip_skip_2` (and that of the option), `hidden_states.<n>`,
 * `layers.<n>.<piece>` of a small model or where the input names them, with `cotangent` also `loss` and `grad.<weight>`. Longer ids, `[75 n + 2]` or `[batch, 75 n + 2]`,
 * give `chunks` `[batch · n, 77]`, and `output` and `output_clip_skip_2` of the ids' length.
 */
export async function probeTextEncoder(request: ProbeRequest): Promise<TensorSet> {
  const { device, folder, input } = request, output: TensorSet = new Map();
  const config = readTextEncoderConfig(await ConfigReader.open(join(folder, "text_encoder", "config.json")));
  const weights = new Weights("text_encoder", request.precision), observed = new Map<string, Tensor>();
  const see = (path: string, tensor: Tensor) => observed.set(path, tensor);
  const model = new CLIPTextModel(new Source(weights, () => null, [], { see }), config);
  const pieces = new Map<string, Tensor>();
  const seePiece = (path: string, tensor: Tensor) => {
    const name = path.replace(/^text_model\.encoder\./, "");
    if (name.startsWith("layers.")) pieces.set(name, tensor);
  };
  const apart = new CLIPTextModel(new Source(weights, () => null, [], { see: seePiece, apart: true }), config);
  const stored = <T>(trace: () => T) => storingActivations(activationsOption(request), trace);
  const skips = [...new Set([1, 2, countOption(request.options, "clip_skip", 1)])];
  try {
    await openWeights(request, weights);
    for (const prefix of setsOf(input, "ids")) {
      const ids = tensorOf(input, `${prefix}ids`);
      checkIds(`${prefix}ids`, ids.data, config.vocabularySize);
      if (ids.shape.at(-1) === config.tokens) await encodeRows(prefix, rowsOf(ids, config.tokens));
      else await encodeLong(prefix, ids);
    }
  } finally {
    freeWeights(device, weights);
  }
  return output;

  async function encodeRows(prefix: string, ids: NamedTensor): Promise<void> {
    const tokens = graphInput("ids", ids.shape, "i32");
    const outputs: Record<string, Tensor> = { last_hidden_state: stored(() => model.forward(tokens)) };
    const embedded = observed.get("text_model.embeddings")!;
    for (const skip of skips) outputs[nameOf(skip)] ??= stored(() => model.forward(tokens, { clipSkip: skip }));
    const states = stored(() => model.hiddenStates(tokens));
    states.forEach((state, n) => outputs[`hidden_states.${n}`] = state);
    if (isSmall(weights) || hasAny(input, `${prefix}layers.`)) {
      apart.hiddenStates(tokens);
      for (const [name, tensor] of pieces) if (isSmall(weights) || input.has(prefix + name)) outputs[name] = tensor;
    }
    const given = input.get(`${prefix}cotangent`), wanted = wantedWeights(weights, input);
    // A look-up has no gradient in its table: that is summed here, from the gradient in what was looked up.
    const specs = wanted.filter(({ key }) => key !== tokenTable);
    const loss = given &&
      lossGraph(outputs.last_hidden_state, graphInput("cotangent", given.shape), specs, { embedded });
    const feeds = { ids: ids.data, ...given ? { cotangent: given.data } : {} };
    const found = await evaluate(device, { ...outputs, ...loss?.outputs }, feeds);
    for (const [name, { shape }] of Object.entries(outputs)) {
      output.set(prefix + name, { shape, data: found[name] as Float32Array });
    }
    if (!loss) return;
    loss.collect(found, prefix, output);
    const name = `${prefix}grad.embedded`, gradient = output.get(name)!;
    output.delete(name);
    if (specs.length < wanted.length) output.set(`${prefix}grad.${tokenTable}`, tableGradient(ids, gradient));
  }

  function tableGradient(ids: NamedTensor, { data: gradient }: NamedTensor): NamedTensor {
    const { size, vocabularySize } = config, data = new Float32Array(vocabularySize * size);
    ids.data.forEach((id, token) => {
      for (let c = 0; c < size; c++) data[id * size + c] += gradient[token * size + c];
    });
    return { shape: [vocabularySize, size], data };
  }

  async function encodeLong(prefix: string, ids: NamedTensor): Promise<void> {
    const chunks = chunksOf(ids, config.tokens, `${prefix}ids`), rows = (ids.shape.at(-1)! - 2) / (config.tokens - 2);
    output.set(`${prefix}chunks`, chunks);
    const tokens = graphInput("ids", chunks.shape, "i32");
    const outputs = Object.fromEntries(skips.map((skip) => [
      skip === 1 ? "output" : `output_${nameOf(skip)}`,
      model.forward(tokens, { clipSkip: skip, rows }),
    ]));
    const found = await evaluate(device, outputs, { ids: chunks.data });
    for (const name of Object.keys(outputs)) {
      output.set(prefix + name, { shape: [...ids.shape, config.size], data: found[name] as Float32Array });
    }
  }
}

function nameOf(clipSkip: number): string {
  return clipSkip === 1 ? "last_hidden_state" : `clip_skip_${clipSkip}`;
}

function rowsOf({ data }: NamedTensor, tokens: number): NamedTensor {
  return { shape: [data.length / tokens, tokens], data };
}

/** Cuts padded prompts of `(tokens − 2) · n + 2` ids into n rows, each with the first id in front and the last behind. */
function chunksOf({ shape, data }: NamedTensor, tokens: number, name: string): NamedTensor {
  const length = shape.at(-1) ?? 0, inside = tokens - 2, rows = (length - 2) / inside;
  if (shape.length > 2 || !Number.isInteger(rows) || rows < 1) {
    throw new RangeError(
      `Cannot probe: ${name} is [${shape.join(", ")}], wanted [batch, ${tokens}] or prompts of ${inside} n + 2 ids`,
    );
  }
  const chunks: number[] = [];
  for (let start = 0; start < data.length; start += length) {
    for (let at = start + 1; at < start + length - 1; at += inside) {
      chunks.push(data[start], ...data.subarray(at, at + inside), data[start + length - 1]);
    }
  }
  return { shape: [chunks.length / tokens, tokens], data: Int32Array.from(chunks) };
}
