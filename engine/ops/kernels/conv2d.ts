import type { Kernel, KernelTarget } from "../../graph/kernel.ts";
import { productKernel } from "./product_kernel.ts";
import type { FloatFormat, ReadFormat } from "../../graph/types.ts";
import type { TileOperand } from "./register_tile.ts";
import { divide, modulo } from "./wgsl.ts";

/** Sizes of a two-dimensional convolution over `[batch, height, width, inChannels]`. */
export interface Conv2dShape {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly kernelHeight: number;
  readonly kernelWidth: number;
  readonly stride: number;
  /** Rows and columns of zeros around the input. */
  readonly padding: { readonly top: number; readonly left: number; readonly bottom: number; readonly right: number };
}

/** Height and width of a convolution's output. */
export function conv2dOutputSize(shape: Conv2dShape): { outHeight: number; outWidth: number } {
  const { height, width, kernelHeight, kernelWidth, stride, padding } = shape;
  return {
    outHeight: Math.floor((height + padding.top + padding.bottom - kernelHeight) / stride) + 1,
    outWidth: Math.floor((width + padding.left + padding.right - kernelWidth) / stride) + 1,
  };
}

/** A bound that the compiler does not know: unrolling the loop would make it compile many times longer. `lane` is below `n`'s other value. */
const bound = (n: number) => `select(${n}u, 0u, lane > 255u)`;

/** `minuend - n` in unsigned numbers: what lies before zero becomes too large for any bound. */
const less = (minuend: string, n: number) => n === 0 ? minuend : `${minuend} - ${n}u`;

/**
 * Kernel for a convolution's output `[batch, outHeight, outWidth, outChannels]`: an implicit matrix product of pixels by channels.
 *
 * Bindings: x `[batch, height, width, inChannels]`, weight `[kernelHeight, kernelWidth, inChannels, outChannels]`, then bias `[outChannels]` and
 * addend (as the output) when there are any, then result.
 */
export function conv2dForward(
  options: Conv2dShape & {
    readonly dtypeX?: ReadFormat;
    readonly dtypeWeight?: ReadFormat;
    readonly bias?: FloatFormat | null;
    readonly addend?: FloatFormat | null;
    readonly result?: FloatFormat;
  },
  target: KernelTarget,
): Kernel {
  const { batch, height, width, inChannels, outChannels, kernelHeight, kernelWidth, stride, padding } = options;
  const { outHeight, outWidth } = conv2dOutputSize(options);
  const x: TileOperand = {
    name: "x",
    dtype: options.dtypeX ?? "f32",
    contiguous: "sum",
    vectors: inChannels % 4 === 0,
    sumStride: 1,
    tileStride: 0,
    setup: (at, id) => pixel(at, id, outHeight, outWidth),
    locate: (_, id) =>
      `let inY${id} = ${less(`y${id} * ${stride}u + ky`, padding.top)};
let inX${id} = ${less(`x${id} * ${stride}u + kx`, padding.left)};
let inside${id} = (inY${id} < ${height}u) & (inX${id} < ${width}u);`,
    offset: (_, id) => `((picture${id} * ${height}u + inY${id}) * ${width}u + inX${id}) * ${inChannels}u`,
    valid: (_, id) => `inside${id}`,
  };
  const weight: TileOperand = {
    name: "weight",
    dtype: options.dtypeWeight ?? "f32",
    contiguous: "tile",
    vectors: outChannels % 4 === 0,
    sumStride: outChannels,
    tileStride: 1,
    offset: (at) => `(ky * ${kernelWidth}u + kx) * ${inChannels * outChannels}u + ${at}`,
  };
  return productKernel({
    batch: 1,
    m: batch * outHeight * outWidth,
    n: outChannels,
    k: kernelHeight * kernelWidth * inChannels,
    a: x,
    b: weight,
    bias: options.bias,
    addend: options.addend,
    result: options.result,
    loops: {
      open: `for (var ky = 0u; ky < ${bound(kernelHeight)}; ky++) {
for (var kx = 0u; kx < ${bound(kernelWidth)}; kx++) {`,
      close: "}\n}",
      length: inChannels,
      split: {
        inner: modulo("step", inChannels),
        tap: divide("step", inChannels),
        ky: divide("tap", kernelWidth),
        kx: modulo("tap", kernelWidth),
      },
    },
  }, target);
}

/**
 * Kernel for the gradient of a convolution by its input, `[batch, height, width, inChannels]`.
 *
 * dx[y, x] = Σ dy[(y + top − ky) / stride, (x + left − kx) / stride]·weight[ky, kx]ᵀ, over the taps where the divisions leave no rest.
 * Pixels with the same rest have the same taps, so they are summed together: no tap is tried in vain.
 *
 * Bindings: dy `[batch, outHeight, outWidth, outChannels]`, weight `[kernelHeight, kernelWidth, inChannels, outChannels]`, result.
 */
export function conv2dInputGradient(
  options: Conv2dShape & { readonly dtypeGradient?: ReadFormat; readonly dtypeWeight?: ReadFormat },
  target: KernelTarget,
): Kernel {
  const { batch, height, width, inChannels, outChannels, kernelHeight, kernelWidth, stride, padding } = options;
  const { outHeight, outWidth } = conv2dOutputSize(options);
  // Pixels of one class: those whose row and column leave the class's rest when divided by the stride.
  const classHeight = Math.ceil(height / stride), classWidth = Math.ceil(width / stride);
  const tapsDown = Math.ceil(kernelHeight / stride), tapsAcross = Math.ceil(kernelWidth / stride);
  const dy: TileOperand = {
    name: "dy",
    dtype: options.dtypeGradient ?? "f32",
    contiguous: "sum",
    vectors: outChannels % 4 === 0,
    sumStride: 1,
    tileStride: 0,
    setup: (at, id) => pixel(at, id, classHeight, classWidth),
    locate: (_, id) =>
      `let outY${id} = ${divide(`y${id} * ${stride}u + restY + ${padding.top}u - ky`, stride)};
let outX${id} = ${divide(`x${id} * ${stride}u + restX + ${padding.left}u - kx`, stride)};
let inside${id} = (outY${id} < ${outHeight}u) & (outX${id} < ${outWidth}u) & (ky < ${kernelHeight}u) & (kx < ${kernelWidth}u);`,
    offset: (_, id) => `((picture${id} * ${outHeight}u + outY${id}) * ${outWidth}u + outX${id}) * ${outChannels}u`,
    valid: (_, id) => `inside${id}`,
  };
  const weight: TileOperand = {
    name: "weight",
    dtype: options.dtypeWeight ?? "f32",
    contiguous: "sum",
    vectors: outChannels % 4 === 0,
    sumStride: 1,
    tileStride: outChannels,
    offset: (at) => `((ky * ${kernelWidth}u + kx) * ${inChannels}u + ${at}) * ${outChannels}u`,
  };
  return productKernel({
    batch: stride * stride,
    m: batch * classHeight * classWidth,
    n: inChannels,
    k: tapsDown * tapsAcross * outChannels,
    a: dy,
    b: weight,
    prologue: `let restY = ${divide("matrix", stride)};
let restX = ${modulo("matrix", stride)};
let firstKy = ${modulo(`restY + ${padding.top}u`, stride)};
let firstKx = ${modulo(`restX + ${padding.left}u`, stride)};`,
    loops: {
      open: `for (var ky = firstKy; ky < ${bound(kernelHeight)}; ky += ${stride}u) {
for (var kx = firstKx; kx < ${bound(kernelWidth)}; kx += ${stride}u) {`,
      close: "}\n}",
      length: outChannels,
      split: {
        inner: modulo("step", outChannels),
        tap: divide("step", outChannels),
        ky: `firstKy + ${divide("tap", tapsAcross)} * ${stride}u`,
        kx: `firstKx + ${modulo("tap", tapsAcross)} * ${stride}u`,
      },
    },
    resultRow: stride === 1 ? undefined : (row) => {
      const y = `(${modulo(divide(row, classWidth), classHeight)} * ${stride}u + restY)`;
      const x = `(${modulo(row, classWidth)} * ${stride}u + restX)`;
      const conditions = [
        height % stride ? `${y} < ${height}u` : "",
        width % stride ? `${x} < ${width}u` : "",
      ].filter((condition) => condition);
      return {
        row: `(${divide(row, classHeight * classWidth)} * ${height}u + ${y}) * ${width}u + ${x}`,
        condition: conditions.join(" && "),
      };
    },
  }, target);
}

/**
 * Kernel for the gradient of a convolution by its weight, `[kernelHeight, kernelWidth, inChannels, outChannels]`: Σ over all output pixels of
 * x at the tap times dy.
 *
 * Bindings: x `[batch, height, width, inChannels]`, dy `[batch, outHeight, outWidth, outChannels]`, result.
 */
export function conv2dWeightGradient(
  options: Conv2dShape & { readonly dtypeX?: ReadFormat; readonly dtypeGradient?: ReadFormat },
  target: KernelTarget,
): Kernel {
  const { batch, height, width, inChannels, outChannels, kernelHeight, kernelWidth, stride, padding } = options;
  const { outHeight, outWidth } = conv2dOutputSize(options);
  const x: TileOperand = {
    name: "x",
    dtype: options.dtypeX ?? "f32",
    contiguous: "tile",
    vectors: inChannels % 4 === 0,
    sumStride: stride * inChannels,
    tileStride: 1,
    setup: (at, id) =>
      `let channel${id} = ${modulo(at, inChannels)};
let tap${id} = ${divide(at, inChannels)};
let ky${id} = ${divide(`tap${id}`, kernelWidth)};
let left${id} = ${less(modulo(`tap${id}`, kernelWidth), padding.left)};`,
    locate: (_, id) =>
      `let inY${id} = ${less(`${modulo("line", outHeight)} * ${stride}u + ky${id}`, padding.top)};
let inside${id} = inY${id} < ${height}u;`,
    offset: (_, id) =>
      `((${
        divide("line", outHeight)
      } * ${height}u + inY${id}) * ${width}u + left${id}) * ${inChannels}u + channel${id}`,
    valid: (_, id, step) => `inside${id} & (${step} * ${stride}u + left${id} < ${width}u)`,
  };
  const dy: TileOperand = {
    name: "dy",
    dtype: options.dtypeGradient ?? "f32",
    contiguous: "tile",
    vectors: outChannels % 4 === 0,
    sumStride: outChannels,
    tileStride: 1,
    offset: (at) => `line * ${outWidth * outChannels}u + ${at}`,
  };
  return productKernel({
    batch: 1,
    m: kernelHeight * kernelWidth * inChannels,
    n: outChannels,
    k: batch * outHeight * outWidth,
    a: x,
    b: dy,
    loops: {
      open: `for (var line = 0u; line < ${bound(batch * outHeight)}; line++) {`,
      close: "}",
      length: outWidth,
      split: { line: divide("step", outWidth), inner: modulo("step", outWidth) },
    },
  }, target);
}

/** WGSL that takes the index of a pixel apart. */
function pixel(at: string, id: string, height: number, width: number): string {
  return `let x${id} = ${modulo(at, width)};
let y${id} = ${modulo(divide(at, width), height)};
let picture${id} = ${divide(at, width * height)};`;
}
