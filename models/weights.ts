import {
  elementCount,
  type FloatFormat,
  q8Block,
  type ReadFormat,
  type Shape,
  type Tensor,
  toQ8,
  Variable,
} from "../engine/mod.ts";
import { encodeFloat32 } from "../formats/element_types.ts";

/** How the engine lays a weight out, seen from the checkpoint's (PyTorch's) layout. */
export type Layout =
  /** As in the checkpoint. */
  | "same"
  /** A convolution's `[out, in, height, width]` becomes `[height, width, in, out]`. */
  | "convolution";

/** One weight that a model needs: its key, its shape in the checkpoint, and the variable that will hold it. */
export interface WeightSpec {
  /** The checkpoint's own key, such as `mid_block.attentions.0.proj_in.weight`. */
  readonly key: string;
  /** Shape in the checkpoint. */
  readonly shape: Shape;
  readonly layout: Layout;
  readonly variable: Variable;
}

/** The frozen weights of one model: filled with specs as the model is built, with values when a checkpoint is loaded. */
export class Weights {
  private readonly specs = new Map<string, WeightSpec>();

  /**
   * @param name The part's name in errors and in the weights by rule: `text_encoder`, `unet` or `vae`.
   * @param dtype How the weights are stored on the device.
   * @param inEightBits Whether those of linear layers and convolutions, nearly all there are, are stored in 8 bits instead.
   */
  constructor(readonly name: string, readonly dtype: FloatFormat = "f32", private readonly inEightBits = false) {}

  /** All weights asked for so far, in the order of the model's construction. */
  get all(): readonly WeightSpec[] {
    return [...this.specs.values()];
  }

  /** Number of elements of all weights. */
  get parameterCount(): number {
    return this.all.reduce((total, spec) => total + elementCount(spec.shape), 0);
  }

  /** The weight as a tensor; the same variable for the same key, so that several instances of a model share it. */
  tensor(key: string, shape: Shape, layout: Layout = "same"): Tensor {
    let spec = this.specs.get(key);
    if (!spec) {
      const [out, size, height, width] = shape;
      const stored = layout === "convolution" ? [height, width, size, out] : shape;
      spec = {
        key,
        shape,
        layout,
        variable: new Variable(`${this.name}.${key}`, { shape: stored, dtype: this.formatOf(key, shape) }),
      };
      this.specs.set(key, spec);
    }
    return spec.variable.tensor;
  }

  /** Tables of embeddings are looked up row by row, in windows where they are large; and 8-bit numbers come in blocks. */
  private formatOf(key: string, shape: Shape): ReadFormat {
    const isFactor = shape.length > 1 && !/_embedding\.weight$/.test(key);
    return this.inEightBits && isFactor && elementCount(shape) % q8Block.elements === 0 ? "q8" : this.dtype;
  }
}

/** Elements on the host. */
type Elements = Float32Array | Float16Array;

/**
 * A weight's elements in the engine's layout, from the checkpoint's, rounded to f16 where that is asked for, or to bf16 or q8, of which it gives the
 * bits. May share the memory of `data`.
 *
 * @param shape Shape in the checkpoint.
 */
export function toEngineLayout(data: Float32Array, shape: Shape, layout: Layout): Float32Array;
export function toEngineLayout(
  data: Elements,
  shape: Shape,
  layout: Layout,
  format: ReadFormat,
): Elements | Uint16Array | Uint32Array;
export function toEngineLayout(
  data: Elements,
  shape: Shape,
  layout: Layout,
  format: ReadFormat = "f32",
): Elements | Uint16Array | Uint32Array {
  if (format === "q8") return toQ8(toEngineLayout(data, shape, layout, "f32") as Float32Array);
  if (format === "bf16") {
    const values = toEngineLayout(data, shape, layout, "f32") as Float32Array<ArrayBuffer>;
    return new Uint16Array(encodeFloat32(values, "BF16").buffer);
  }
  const Kind = format === "f16" ? Float16Array : Float32Array;
  if (layout === "same") return data instanceof Kind ? data : new Kind(data);
  const [out, size, height, width] = shape, taps = height * width;
  const result = new Kind(data.length);
  for (let o = 0; o < out; o++) {
    for (let c = 0; c < size; c++) {
      for (let tap = 0; tap < taps; tap++) result[(tap * size + c) * out + o] = data[(o * size + c) * taps + tap];
    }
  }
  return result;
}

/** A weight's elements in the checkpoint's layout, from the engine's: the inverse of `toEngineLayout`. */
export function toCheckpointLayout(data: Float32Array, shape: Shape, layout: Layout): Float32Array {
  if (layout === "same") return data;
  const [out, size, height, width] = shape, taps = height * width;
  const result = new Float32Array(data.length);
  for (let o = 0; o < out; o++) {
    for (let c = 0; c < size; c++) {
      for (let tap = 0; tap < taps; tap++) result[(o * size + c) * taps + tap] = data[(tap * size + c) * out + o];
    }
  }
  return result;
}
