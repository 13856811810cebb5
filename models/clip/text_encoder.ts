import { add, attention, embedding, gelu, quickGelu, type Tensor } from "../../engine/mod.ts";
import { LayerNorm } from "../layers/layer_norm.ts";
import { Linear } from "../layers/linear.ts";
import type { Source } from "../source.ts";
import type { TextEncoderConfig } from "./config.ts";
import { joinRows } from "./long_prompt.ts";

/** Causal self-attention. transformers' `CLIPAttention`. */
class ClipAttention {
  private readonly source: Source;
  private readonly k: Linear;
  private readonly v: Linear;
  private readonly q: Linear;
  private readonly out: Linear;
  private readonly heads: number;

  constructor(source: Source, { size, heads }: TextEncoderConfig) {
    this.source = source = source.as("CLIPAttention");
    const sizes = { inSize: size, outSize: size };
    this.k = new Linear(source.at("k_proj"), sizes);
    this.v = new Linear(source.at("v_proj"), sizes);
    this.q = new Linear(source.at("q_proj"), sizes);
    this.out = new Linear(source.at("out_proj"), sizes);
    this.heads = heads;
  }

  forward(x: Tensor, { addend }: { addend: Tensor }): Tensor {
    return this.source.scopedWithAddend(addend, (addend) => {
      const q = this.q.forward(x), k = this.k.forward(x), v = this.v.forward(x);
      return this.out.forward(attention(q, k, v, { heads: this.heads, causal: true }), { addend });
    });
  }
}

/** Feed-forward layers. transformers' `CLIPMLP`. */
class ClipMlp {
  private readonly source: Source;
  private readonly fc1: Linear;
  private readonly fc2: Linear;
  private readonly activation: (x: Tensor) => Tensor;

  constructor(source: Source, { size, innerSize, activation }: TextEncoderConfig) {
    this.source = source = source.as("CLIPMLP");
    this.fc1 = new Linear(source.at("fc1"), { inSize: size, outSize: innerSize });
    this.fc2 = new Linear(source.at("fc2"), { inSize: innerSize, outSize: size });
    this.activation = activation === "gelu" ? (x) => gelu(x) : (x) => quickGelu(x);
  }

  forward(x: Tensor, { addend }: { addend: Tensor }): Tensor {
    return this.source.scopedWithAddend(
      addend,
      (addend) => this.fc2.forward(this.activation(this.fc1.forward(x)), { addend }),
    );
  }
}

/** Attention, then feed-forward, each behind a norm, each with a residual. transformers' `CLIPEncoderLayer`. */
class ClipEncoderLayer {
  private readonly attention: ClipAttention;
  private readonly norm1: LayerNorm;
  private readonly mlp: ClipMlp;
  private readonly norm2: LayerNorm;

  constructor(private readonly source: Source, config: TextEncoderConfig) {
    const { size, epsilon } = config;
    this.attention = new ClipAttention(source.at("self_attn"), config);
    this.norm1 = new LayerNorm(source.at("layer_norm1"), size, { epsilon });
    this.mlp = new ClipMlp(source.at("mlp"), config);
    this.norm2 = new LayerNorm(source.at("layer_norm2"), size, { epsilon });
  }

  forward(x: Tensor): Tensor {
    return this.source.checkpointed(() => {
      x = this.attention.forward(this.norm1.forward(x), { addend: x });
      return this.mlp.forward(this.norm2.forward(x), { addend: x });
    });
  }
}

/** CLIP's text encoder: a prompt's token ids to the states that the UNet attends to. transformers' `CLIPTextModel`. */
export class CLIPTextModel {
  private readonly embeddings: Source;
  private readonly tokenTable: Tensor;
  private readonly positionTable: Tensor;
  private readonly layers: readonly ClipEncoderLayer[];
  private readonly finalNorm: LayerNorm;

  constructor(private readonly source: Source, readonly config: TextEncoderConfig) {
    const { size, vocabularySize, tokens, layers, epsilon } = config;
    this.embeddings = source.at("text_model.embeddings");
    this.tokenTable = this.embeddings.weight("token_embedding.weight", [vocabularySize, size]);
    this.positionTable = this.embeddings.weight("position_embedding.weight", [tokens, size]);
    this.layers = Array.from(
      { length: layers },
      (_, layer) => new ClipEncoderLayer(source.at(`text_model.encoder.layers.${layer}`), config),
    );
    this.finalNorm = new LayerNorm(source.at("text_model.final_layer_norm"), size, { epsilon });
  }

  /**
   * The states behind the embeddings and behind each layer, without the final norm. What nobody uses is not computed.
   *
   * @param ids Token ids, i32 `[batch, 77]`.
   * @returns `layers + 1` tensors `[batch, 77, size]`.
   * @throws {TypeError} If ids has another shape or format.
   */
  hiddenStates(ids: Tensor): Tensor[] {
    const { tokens } = this.config;
    if (ids.dtype !== "i32" || ids.shape.length !== 2 || ids.shape[1] !== tokens) {
      throw new TypeError(`Cannot encode a prompt: ids are ${ids}, wanted i32 [batch, ${tokens}]`);
    }
    const states: Tensor[] = [];
    this.source.scoped(() => {
      states.push(this.embeddings.scoped(() => add(embedding(this.tokenTable, ids), this.positionTable)));
      for (const layer of this.layers) states.push(layer.forward(states[states.length - 1]));
    });
    return states;
  }

  /**
   * A prompt's states as the UNet gets them.
   *
   * @param ids i32 `[batch · rows, 77]`: each prompt's rows one after another.
   * @param options.clipSkip 1 takes the last layer's states, 2 those of the layer before, and so on; the final norm is applied to all.
   * @param options.rows Rows of 77 tokens that make one prompt; each goes through the encoder alone.
   * @returns `[batch, 75 · rows + 2, size]`
   * @throws {RangeError} If clipSkip is not from 1 to the number of layers, or ids are not whole prompts.
   */
  forward(ids: Tensor, { clipSkip = 1, rows = 1 }: { clipSkip?: number; rows?: number } = {}): Tensor {
    const { layers } = this.config;
    if (!Number.isInteger(clipSkip) || clipSkip < 1 || clipSkip > layers) {
      throw new RangeError(`Cannot encode a prompt: clip skip is ${clipSkip}, must be from 1 to ${layers}`);
    }
    const states = this.hiddenStates(ids);
    return this.source.scoped(() => joinRows(this.finalNorm.forward(states[states.length - clipSkip]), rows));
  }
}
