import type { KernelTarget } from "../../graph/kernel.ts";
import { computedIn, type DType, isHalf, q8Block, type TensorType } from "../../graph/types.ts";
import { divide, modulo, vectorType } from "./wgsl.ts";

/** Largest finite f16. */
const largestF16 = "65504.0f";
/** Bits of f32's exponent: all are set in NaN and infinity alone. */
const exponentBits = "0x7f800000u";

/**
 * How a kernel reads and writes one tensor's buffer, `width` elements side by side at a time. Kernels compute in f32 whatever tensors are stored in; products of f16 may be asked for in f16, see `arithmeticsOf`.
 *
 * f16 is WGSL's own where the adapter has it. Without it, and for bf16, which WGSL lacks, elements lie in pairs in u32 words, so that one alone cannot
 * be stored. What is stored in 16 bits is rounded to nearest, ties to even; a finite number beyond f16's range becomes the largest that f16 has;
 * what is not finite stays so. `q8` is only read: see `toQ8`.
 */
export class Stored {
  readonly dtype: DType;
  /** Elements lie in pairs or fours in u32 words. */
  readonly isPacked: boolean;

  constructor(
    readonly name: string,
    { dtype }: Pick<TensorType, "dtype">,
    readonly width: 1 | 2 | 4,
    target: Pick<KernelTarget, "f16">,
  ) {
    this.dtype = dtype;
    this.isPacked = isPacked(dtype, target);
  }

  /** WGSL type of what `load` gives. */
  get type(): string {
    return vectorType(computedIn(this.dtype), this.width);
  }

  /** The declaration of the buffer. */
  binding(at: number, access: "read" | "read_write"): string {
    const { width } = this, dtype = this.dtype === "f16" ? "f16" : computedIn(this.dtype);
    const words = width === 4 && this.dtype !== "q8" ? 2 : 1;
    const type = this.isPacked ? vectorType("u32", words) : vectorType(dtype, width);
    return `@group(0) @binding(${at}) var<storage, ${access}> ${this.name}: array<${type}>;`;
  }

  /** The elements at `index`, which counts in units of `width`: f32, or whole numbers where the tensor holds those. */
  load(index: string): string {
    if (this.isPacked) return `load_${this.name}(${index})`;
    return this.dtype === "f16" ? `${this.type}(${this.name}[${index}])` : `${this.name}[${index}]`;
  }

  /**
   * What lies at `index` as it is stored, for `widened`: in 16 bits it takes half the registers until it is needed. Single elements that lie in pairs are
   * loaded.
   */
  kept(index: string): string {
    return this.isLoadedOnly ? this.load(index) : `${this.name}[${index}]`;
  }

  /** The elements of what `kept` gave, as `load` gives them. `kept` is a name. */
  widened(kept: string): string {
    if (this.isLoadedOnly || !isHalf(this.dtype)) return kept;
    if (!this.isPacked) return `${this.type}(${kept})`;
    return this.width === 2 ? this.pair(kept) : `vec4f(${this.pair(`${kept}.x`)}, ${this.pair(`${kept}.y`)})`;
  }

  private get isLoadedOnly(): boolean {
    return this.dtype === "q8" || (this.isPacked && this.width === 1);
  }

  /** Both elements of a word. */
  private pair(word: string): string {
    return this.dtype === "f16"
      ? `unpack2x16float(${word})`
      : `bitcast<vec2f>(vec2u(${word} << 16u, ${word} & 0xffff0000u))`;
  }

  /** Whether elements can be stored `width` at a time: of pairs not one alone, and of q8 none. */
  get canStore(): boolean {
    return !this.isLoadedOnly;
  }

  /** A statement that stores f32 elements, or whole numbers where the tensor holds those. */
  store(index: string, value: string): string {
    return isHalf(this.dtype) ? `store_${this.name}(${index}, ${value});` : `${this.name}[${index}] = ${value};`;
  }

  /** The WGSL function behind `load`, where there is one. */
  loadFunction(): string {
    if (!this.isPacked) return "";
    if (this.dtype === "q8") return this.q8Load();
    const { name, width } = this;
    const [index, value] = width === 1 ? ["i >> 1u", `${this.pair("words")}[i & 1u]`] : ["i", this.widened("words")];
    return `fn load_${name}(i: u32) -> ${this.type} {
  let words = ${name}[${index}];
  return ${value};
}`;
  }

  private q8Load(): string {
    const { name, width } = this, { elements, words } = q8Block;
    const word = divide("i", 4 / width), block = divide("word", elements / 4);
    const part = width === 4 ? "four" : width === 2 ? "select(four.xy, four.zw, (i & 1u) == 1u)" : "four[i & 3u]";
    return `fn load_${name}(i: u32) -> ${this.type} {
  let word = ${word};
  let block = ${block} * ${words}u;
  let four = unpack4x8snorm(${name}[block + 1u + ${modulo("word", elements / 4)}]) * bitcast<f32>(${name}[block]);
  return ${part};
}`;
  }

  /** The WGSL function behind `store`, where there is one. */
  storeFunction(): string {
    if (this.dtype === "q8") throw new TypeError(`Cannot store ${this.name}: q8 is for weights that never change`);
    if (!isHalf(this.dtype)) return "";
    const { name, width } = this;
    if (this.isPacked && width === 1) {
      throw new TypeError(`Cannot store single elements of ${name}: ${this.dtype} is stored in pairs here`);
    }
    return `fn store_${name}(i: u32, value: ${this.type}) {
  ${this.dtype === "f16" ? this.f16Store() : this.bf16Store()}
}`;
  }

  private f16Store(): string {
    const { name, width, type: f } = this, u = vectorType("u32", width);
    return `let exponent = bitcast<${u}>(value) & ${u}(${exponentBits});
  let finite = select(clamp(value, ${f}(-${largestF16}), ${f}(${largestF16})), value, exponent == ${u}(${exponentBits}));
  ${this.isPacked ? this.f16Pairs() : `${name}[i] = ${vectorType("f16", width)}(finite);`}`;
  }

  /** WGSL's `pack2x16float` may round either way, and means nothing where a number is not finite. */
  private f16Pairs(): string {
    const { name, width } = this, u = vectorType("u32", width);
    const pair = (low: string, high: string) => `half.${low} | (half.${high} << 16u)`;
    // Below 2⁻¹⁴ f16 counts in units of 2⁻²⁴; above, 13 bits are rounded off, see `bf16Store`, and the exponent begins 112 later.
    return `let bits = bitcast<${u}>(finite);
  let magnitude = bits & ${u}(0x7fffffffu);
  let normal = (magnitude - ${u}(0x38000000u) + ${u}(0xfffu) + ((magnitude >> ${u}(13u)) & ${u}(1u))) >> ${u}(13u);
  let small = ${u}(round(abs(finite) * 0x1p24f));
  let endless = select(${u}(0x7c00u), ${u}(0x7e00u), magnitude > ${u}(${exponentBits}));
  let number = select(select(normal, small, magnitude < ${u}(0x38800000u)), endless, exponent == ${u}(${exponentBits}));
  let half = ((bits >> ${u}(16u)) & ${u}(0x8000u)) | number;
  ${name}[i] = ${width === 4 ? `vec2u(${pair("x", "y")}, ${pair("z", "w")})` : pair("x", "y")};`;
  }

  private bf16Store(): string {
    const { name, width } = this, u = vectorType("u32", width);
    const pair = (low: string, high: string) => `(half.${low} >> 16u) | (half.${high} & 0xffff0000u)`;
    // Adding 0x7fff and the lowest bit that stays carries into the bits that stay exactly where rounding to even goes up.
    return `let bits = bitcast<${u}>(value);
  let nearest = bits + ${u}(0x7fffu) + ((bits >> ${u}(16u)) & ${u}(1u));
  let half = select(nearest, bits, (bits & ${u}(${exponentBits})) == ${u}(${exponentBits}));
  ${name}[i] = ${width === 4 ? `vec2u(${pair("x", "y")}, ${pair("z", "w")})` : pair("x", "y")};`;
  }
}

/** Whether elements of this format lie in pairs or fours in u32 words on such an adapter. */
export function isPacked(dtype: DType, target: Pick<KernelTarget, "f16">): boolean {
  return dtype === "bf16" || dtype === "q8" || (dtype === "f16" && !target.f16);
}

/** The format of a copy that is written `width` elements at a time: in 16 bits only in fours. */
export function copiedIn(dtype: DType, width: number): DType {
  return isHalf(dtype) && width !== 4 ? "f32" : dtype;
}

/**
 * The top of a kernel's module: its buffers in the order of the bindings, inputs before outputs, and the functions that reading and writing them takes.
 *
 * @param made One of the inputs that the kernel makes as well.
 */
export function buffers(
  inputs: readonly (Stored | null)[],
  outputs: readonly Stored[],
  made: Stored | null = null,
): string {
  const given = inputs.filter((stored) => stored !== null), all = [...given, ...outputs];
  const read = given.filter((stored) => stored !== made), written = all.filter((stored) => !read.includes(stored));
  const isNative = all.some(({ dtype, isPacked }) => dtype === "f16" && !isPacked);
  return [
    isNative ? "enable f16;" : "",
    ...all.map((stored, at) => stored.binding(at, read.includes(stored) ? "read" : "read_write")),
    ...read.map((stored) => stored.loadFunction()),
    ...written.map((stored) => stored.storeFunction()),
  ].filter((line) => line).join("\n");
}
