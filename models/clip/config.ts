import type { ConfigReader } from "../config_reader.ts";

/** What a text encoder is built from: `text_encoder/config.json` in this project's words. */
export interface TextEncoderConfig {
  /** Width of a token's state. */
  readonly size: number;
  /** Width inside of the feed-forward layers. */
  readonly innerSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly vocabularySize: number;
  /** Tokens of a row, special ones included: 77. */
  readonly tokens: number;
  readonly activation: "quick_gelu" | "gelu";
  readonly epsilon: number;
}

/**
 * Reads a CLIP text encoder's options.
 *
 * Options of transformers that concern training, generation or the tokenizer are not looked at.
 *
 * @throws {RangeError | TypeError} If an option is missing or not supported: file, option, found, supported.
 */
export function readTextEncoderConfig(reader: ConfigReader): TextEncoderConfig {
  reader.only("model_type", ["clip_text_model"]);
  reader.only("attention_dropout", [0]);
  reader.only("dropout", [0]);
  const size = reader.count("hidden_size"), heads = reader.count("num_attention_heads");
  if (size % heads !== 0) reader.fail("hidden_size", size, `a multiple of num_attention_heads, ${heads}`);
  return {
    size,
    innerSize: reader.count("intermediate_size"),
    layers: reader.count("num_hidden_layers", 256),
    heads,
    vocabularySize: reader.count("vocab_size"),
    tokens: reader.count("max_position_embeddings"),
    activation: reader.choice("hidden_act", ["quick_gelu", "gelu"]),
    epsilon: reader.number("layer_norm_eps", 1e-5),
  };
}
