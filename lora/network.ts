import { add, conv2d, linear, storingActivations, type Tensor, Variable, window } from "../engine/mod.ts";
import type { Adapters, LayerInfo } from "../models/source.ts";
import { toCheckpointLayout, toEngineLayout } from "../models/weights.ts";
import { drawnShares, dropInner, type DropoutShares, rankScale } from "./dropout.ts";
import { type LoraOptions, type Part, type PartLayers, planModules } from "./module_plan.ts";

export type { LoraOptions, Part };

/** One low-rank pair beside a layer of the base model. */
export interface LoraModule {
  /** kohya's name: `lora_unet_mid_block_attentions_0_proj_out`. */
  readonly name: string;
  readonly part: Part;
  readonly layer: LayerInfo;
  readonly rank: number;
  readonly alpha: number;
  /** Factor of its learning rate. */
  readonly rateWeight: number;
  readonly down: LoraTensor;
  readonly up: LoraTensor;
}

/** A module's matrix: a window in its network's flat weights. */
export interface LoraTensor {
  /** As in the file: `<module>.lora_down.weight`. */
  readonly name: string;
  /** Shape in the file, PyTorch's layout. */
  readonly shape: readonly number[];
  /** Layout on the device: 3×3 down projections are convolutions' weights. */
  readonly layout: "same" | "convolution";
  readonly offsetElements: number;
  readonly sizeElements: number;
  readonly tensor: Tensor;
}

/** A module's matrices as numbers in the file's layout. */
export interface LoraValues {
  readonly down: Float32Array;
  readonly up: Float32Array;
}

/** Elements between the starts of tensors: 256 bytes, WebGPU's alignment of bindings. */
const alignment = 64;

/**
 * A LoRA network: low-rank pairs beside the linear layers and convolutions of a base model, in kohya's order and with kohya's names.
 *
 * All its weights lie in one flat variable, so that clipping and the optimizer are one pass over it.
 *
 * @see Hu et al. 2021, https://arxiv.org/abs/2106.09685
 */
export class LoraNetwork {
  readonly modules: readonly LoraModule[];
  /** `[size]`, f32; tensors start at multiples of 64 elements, zeros between. */
  readonly weights: Variable;

  /** Place in the basis that frozen down projections come from; undefined where they are trained. See `orthonormalDown`. */
  readonly orthonormalPlace: number | undefined;

  private readonly shares: DropoutShares;

  /**
   * @param name Name in errors and of the variable: `network 1`.
   * @param layers The layers of each part that is trained, as the models registered them; a part left out gets no modules.
   * @throws {RangeError} As `planModules`.
   */
  constructor(readonly name: string, layers: PartLayers, options: LoraOptions) {
    const { dropout = 0, rankDropout = 0, moduleDropout = 0 } = options;
    this.shares = { dropout, rankDropout, moduleDropout };
    this.orthonormalPlace = options.orthonormalPlace;
    const planned = planModules(name, layers, options);
    let size = 0;
    const place = (moduleName: string, which: "down" | "up", shape: readonly number[]) => {
      const sizeElements = shape.reduce((a, b) => a * b, 1), offsetElements = size;
      size = Math.ceil((size + sizeElements) / alignment) * alignment;
      return { name: `${moduleName}.lora_${which}.weight`, shape, offsetElements, sizeElements };
    };
    const placed = planned.map((module) => {
      const { name, rank, layer } = module, { kernel, inSize, outSize } = layer;
      return {
        ...module,
        down: place(name, "down", layer.kind === "conv2d" ? [rank, inSize, kernel, kernel] : [rank, inSize]),
        up: place(name, "up", layer.kind === "conv2d" ? [outSize, rank, 1, 1] : [outSize, rank]),
      };
    });
    this.weights = new Variable(`${name} weights`, { shape: [size], dtype: "f32" });
    this.modules = placed.map((module) => ({
      ...module,
      down: this.windowOf(module.down, module.layer.kernel > 1),
      up: this.windowOf(module.up, false),
    }));
  }

  /** All matrices in the file's order: down, up, module by module. */
  get tensors(): readonly LoraTensor[] {
    return this.modules.flatMap((module) => [module.down, module.up]);
  }

  /** Numbers that training can change. */
  get parameterCount(): number {
    return this.modules.flatMap(({ down, up }) => this.orthonormalPlace === undefined ? [down, up] : [up]).reduce(
      (total, tensor) => total + tensor.sizeElements,
      0,
    );
  }

  /** Numbers in `weights`, padding included. */
  get sizeElements(): number {
    return this.weights.shape[0];
  }

  /** The module's place, by kohya's name; undefined when the network has none there. */
  module(name: string): LoraModule | undefined {
    return this.modules.find((module) => module.name === name);
  }

  /** Keys that a micro-batch of training feeds for what it leaves out; 0 where nothing is. See `dropoutKeys`. */
  get dropoutKeyCount(): number {
    return this.modules.length * drawnShares(this.shares).length;
  }

  /**
   * What a base model's layers add to their outputs: `multiplier · alpha / rank · up(down(x))`.
   *
   * @param options.multiplier Strength; 1 when left out.
   * @param options.dropoutKeys Training's random numbers; without them nothing is left out.
   * @param options.hidden Receives the delta itself (the hidden layer h of the method) of the modules it has as keys, as they are traced.
   */
  adapters(
    part: Part,
    options: { multiplier?: number; hidden?: Map<string, Tensor | null>; dropoutKeys?: Tensor | null } = {},
  ): Adapters {
    const { multiplier = 1, hidden, dropoutKeys = null } = options;
    const places = new Map(
      this.modules.flatMap((each, place) => each.part === part ? [[each.layer.path, place] as const] : []),
    );
    return ({ path }) => {
      const place = places.get(path);
      if (place === undefined) return null;
      const module = this.modules[place];
      const scale = multiplier * module.alpha / module.rank * (dropoutKeys ? rankScale(this.shares) : 1);
      return (x, y) => {
        const up = module.up.tensor;
        const middle = () => {
          const whole = projectDown(module, x);
          return dropoutKeys ? dropInner(whole, this.shares, dropoutKeys, place) : whole;
        };
        if (!hidden?.has(module.name)) return linear(middle(), up, null, { addend: y, scale });
        // The method's terms are made of products of hidden layers, which start at 0 and stay small: 16 bits would lose them.
        const delta = storingActivations("f32", () => linear(middle(), up, null, { scale }));
        hidden.set(module.name, delta);
        return add(y, delta);
      };
    };
  }

  /** Flat weights from each module's matrices. Missing modules stay 0, so they change nothing. */
  flatten(valuesOf: (module: LoraModule) => LoraValues | null): Float32Array {
    const flat = new Float32Array(this.sizeElements);
    for (const module of this.modules) {
      const values = valuesOf(module);
      if (!values) continue;
      for (const which of ["down", "up"] as const) {
        const { name, shape, layout, offsetElements, sizeElements } = module[which];
        if (values[which].length !== sizeElements) {
          throw new TypeError(
            `Cannot fill ${this.name}: ${name} has ${values[which].length} elements, [${
              shape.join(", ")
            }] wants ${sizeElements}`,
          );
        }
        flat.set(toEngineLayout(values[which], shape, layout), offsetElements);
      }
    }
    return flat;
  }

  /** Each module's matrices, in the file's layout, from flat weights (or flat gradients). */
  unflatten(flat: Float32Array): Map<LoraModule, LoraValues> {
    const part = ({ offsetElements, sizeElements, shape, layout }: LoraTensor) =>
      toCheckpointLayout(flat.slice(offsetElements, offsetElements + sizeElements), shape, layout);
    return new Map(this.modules.map((module) => [module, { down: part(module.down), up: part(module.up) }]));
  }

  private windowOf(
    tensor: { name: string; shape: readonly number[]; offsetElements: number; sizeElements: number },
    convolution: boolean,
  ): LoraTensor {
    const [out, size, height, width] = tensor.shape;
    const stored = convolution ? [height, width, size, out] : tensor.shape;
    return {
      ...tensor,
      layout: convolution ? "convolution" : "same",
      tensor: window(this.weights.tensor, tensor.offsetElements, stored),
    };
  }
}

function projectDown({ layer, down }: LoraModule, x: Tensor): Tensor {
  if (layer.kernel <= 1) return linear(x, down.tensor);
  const edge = (layer.kernel - 1) / 2;
  return conv2d(x, down.tensor, null, null, { stride: layer.stride, padding: [edge, edge, edge, edge] });
}
