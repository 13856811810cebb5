import { add, checkpointed, scoped, type Shape, Tensor } from "../engine/mod.ts";
import type { Weights } from "./weights.ts";

/** A linear layer or convolution as LoRA networks see it. */
export interface LayerInfo {
  /** Path in the model with the checkpoint's spelling, such as `mid_block.attentions.0.proj_in`. */
  readonly path: string;
  readonly kind: "linear" | "conv2d";
  readonly inSize: number;
  readonly outSize: number;
  /** 1 for a 1×1 convolution; 0 for a linear layer. */
  readonly kernel: number;
  /** 0 for a linear layer. */
  readonly stride: number;
  /** Class, in diffusers or transformers, of the block around it that LoRA networks choose by; "" when none. */
  readonly family: string;
}

/** Adds a network's part to a layer's output: gets the layer's input and what it computed so far, gives the new output. */
export type Adapter = (x: Tensor, y: Tensor) => Tensor;

/** Chooses what adapts a layer; null leaves it alone. */
export type Adapters = (layer: LayerInfo) => Adapter | null;

/** Adapts each layer by several networks, one after another: a stack. */
export function stacked(adapters: readonly Adapters[]): Adapters {
  return (layer) => {
    const found = adapters.map((each) => each(layer)).filter((adapter) => adapter !== null);
    return found.length ? (x, y) => found.reduce((sum, adapter) => adapter(x, sum), y) : null;
  };
}

/** Sees what each block computes while the graph is traced: for checks and printing. */
export interface Observer {
  /** Gets a block's path and output. */
  see(path: string, output: Tensor): void;
  /** Residuals and activations that a block would add in its own dispatch come behind it: outputs are those of PyTorch's modules, and slower. */
  readonly apart?: boolean;
}

/**
 * Where a block finds its weights, by the checkpoint's names, and what adapts its layers. Blocks hand `source.at("name")` to their children, in the
 * order in which PyTorch registered them: LoRA files list modules in that order.
 */
export class Source {
  constructor(
    private readonly weights: Weights,
    private readonly adapters: Adapters = () => null,
    /** Filled with the model's layers as they are built. */
    readonly layers: LayerInfo[] = [],
    private readonly observer: Observer | null = null,
    /** Path in the model, such as `mid_block.resnets.0`; "" for the model itself. */
    readonly path: string = "",
    private readonly family: string = "",
    private readonly scope: string = weights.name,
  ) {}

  /** The source of a child, such as `at("resnets.0")`. */
  at(name: string): Source {
    const path = this.path ? `${this.path}.${name}` : name;
    return new Source(this.weights, this.adapters, this.layers, this.observer, path, this.family, name);
  }

  /** The same source for a block of a class that LoRA networks choose by; the innermost given class counts. */
  as(family: string): Source {
    return new Source(this.weights, this.adapters, this.layers, this.observer, this.path, family, this.scope);
  }

  /** Runs a block's computation under its scope, such as `unet.mid_block.resnets.0`, and shows a tensor it gives to the observer. */
  scoped<T>(body: () => T): T {
    const output = scoped(this.scope, body);
    if (this.observer && output instanceof Tensor) this.observer.see(this.path, output);
    return output;
  }

  /** The same for a block whose inside gradient checkpointing computes again. */
  checkpointed<T>(body: () => T): T {
    return checkpointed(() => this.scoped(body));
  }

  /** As `scoped`, for a block whose last layer adds a residual. */
  scopedWithAddend(addend: Tensor | null, body: (addend: Tensor | null) => Tensor): Tensor {
    if (!addend || !this.isApart) return this.scoped(() => body(addend));
    return add(this.scoped(() => body(null)), addend);
  }

  /** What a block would fuse must come behind it. */
  get isApart(): boolean {
    return this.observer?.apart ?? false;
  }

  /** A weight of this block, by its last name and its shape in the checkpoint. */
  weight(name: string, shape: Shape, layout: "same" | "convolution" = "same"): Tensor {
    return this.weights.tensor(`${this.path}.${name}`, shape, layout);
  }

  /** Registers a layer and gives its adapter. */
  adapter(layer: Omit<LayerInfo, "path" | "family">): Adapter | null {
    const info = { ...layer, path: this.path, family: this.family };
    this.layers.push(info);
    return this.adapters(info);
  }
}
