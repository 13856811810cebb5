import { ok } from "node:assert/strict";
import type { Kernel } from "../../graph/kernel.ts";
import { fromQ8, toQ8 } from "../../graph/q8.ts";
import { runKernel, testDevice, testValues, toF16 } from "./_test_device.ts";
import {
  conv2dForward,
  conv2dInputGradient,
  conv2dOutputSize,
  type Conv2dShape,
  conv2dWeightGradient,
} from "./conv2d.ts";

const { device, targets } = await testDevice();

/** Calls `visit` for every product of the convolution, with the indices of x, weight and output. */
function eachProduct(shape: Conv2dShape, visit: (x: number, weight: number, out: number) => void) {
  const { batch, height, width, inChannels, outChannels, kernelHeight, kernelWidth, stride, padding } = shape;
  const { outHeight, outWidth } = conv2dOutputSize(shape);
  for (let picture = 0; picture < batch; picture++) {
    for (let row = 0; row < outHeight; row++) {
      for (let column = 0; column < outWidth; column++) {
        for (let ky = 0; ky < kernelHeight; ky++) {
          for (let kx = 0; kx < kernelWidth; kx++) {
            const y = row * stride + ky - padding.top, x = column * stride + kx - padding.left;
            if (y < 0 || x < 0 || y >= height || x >= width) continue;
            for (let from = 0; from < inChannels; from++) {
              for (let to = 0; to < outChannels; to++) {
                visit(
                  ((picture * height + y) * width + x) * inChannels + from,
                  ((ky * kernelWidth + kx) * inChannels + from) * outChannels + to,
                  ((picture * outHeight + row) * outWidth + column) * outChannels + to,
                );
              }
            }
          }
        }
      }
    }
  }
}

function close(result: Float32Array, expected: Float32Array, what: string) {
  const wrong = result.findIndex((value, i) => !(Math.abs(value - expected[i]) <= 1e-4));
  ok(wrong < 0, `${what}: element ${wrong} is ${result[wrong]}, not ${expected[wrong]}`);
}

/** The kernels for GPUs compile slowly on a CPU adapter, so only some cases run them. */
async function check(shape: Conv2dShape, { f16 = false, q8 = false, bias = false, addend = false, gpu = false } = {}) {
  const { batch, height, width, inChannels, outChannels, kernelHeight, kernelWidth } = shape;
  const { outHeight, outWidth } = conv2dOutputSize(shape);
  const x = testValues(batch * height * width * inChannels, 1);
  const drawn = testValues(kernelHeight * kernelWidth * inChannels * outChannels, 2);
  const words = q8 ? toQ8(drawn) : null, weight = words ? fromQ8(words) : drawn;
  const dy = testValues(batch * outHeight * outWidth * outChannels, 3);
  const extra = testValues(dy.length, 4), offsets = testValues(outChannels, 5);
  const y = new Float32Array(dy.length), dx = new Float32Array(x.length), dweight = new Float32Array(weight.length);
  eachProduct(shape, (i, w, o) => {
    y[o] += x[i] * weight[w];
    dx[i] += dy[o] * weight[w];
    dweight[w] += x[i] * dy[o];
  });
  for (const i of y.keys()) y[i] += (bias ? offsets[i % outChannels] : 0) + (addend ? extra[i] : 0);
  const stored = words ? new Float32Array(words.buffer) : f16 ? toF16(weight) : weight;
  const dtypeWeight = q8 ? "q8" as const : f16 ? "f16" as const : "f32" as const;
  for (const target of targets.filter(({ cpu }) => cpu || gpu)) {
    const what = (name: string) => `${name} of ${JSON.stringify(shape)}, cpu ${target.cpu}`;
    const forward = conv2dForward(
      { ...shape, dtypeWeight, bias: bias ? "f32" : null, addend: addend ? "f32" : null },
      target,
    );
    const inputs = [x, stored, ...(bias ? [offsets] : []), ...(addend ? [extra] : [])];
    close((await runKernel(device, forward, inputs, [y.length]))[0], y, what("output"));
    const back = conv2dInputGradient({ ...shape, dtypeWeight }, target);
    close((await runKernel(device, back, [dy, stored], [dx.length]))[0], dx, what("dx"));
    const weightBack = conv2dWeightGradient(shape, target);
    close((await runKernel(device, weightBack, [x, dy], [dweight.length]))[0], dweight, what("dweight"));
  }
}

const one = { top: 1, left: 1, bottom: 1, right: 1 }, none = { top: 0, left: 0, bottom: 0, right: 0 };
const three = { kernelHeight: 3, kernelWidth: 3, stride: 1, padding: one };

Deno.test("conv2d kernels agree with the definition at stride 1, channels in fours", async () => {
  await check({ batch: 2, height: 6, width: 8, inChannels: 8, outChannels: 32, ...three }, {
    bias: true,
    addend: true,
  });
});

Deno.test("conv2d kernels agree with the definition at odd sizes and odd channels", async () => {
  await check({ batch: 1, height: 5, width: 7, inChannels: 3, outChannels: 5, ...three }, { bias: true });
  await check({ batch: 2, height: 2, width: 2, inChannels: 4, outChannels: 4, ...three });
});

Deno.test("conv2d kernels agree with the definition at stride 2", async () => {
  await check({ batch: 2, height: 8, width: 4, inChannels: 8, outChannels: 12, ...three, stride: 2 });
  await check({ batch: 1, height: 7, width: 5, inChannels: 16, outChannels: 3, ...three, stride: 2 }, { gpu: true });
});

Deno.test("conv2d kernels for GPUs agree with the definition where steps that are loaded together have one tap", async () => {
  await check({ batch: 1, height: 5, width: 4, inChannels: 64, outChannels: 16, ...three }, { gpu: true });
});

Deno.test("conv2d kernels agree with the definition under padding at the bottom and right only", async () => {
  const padding = { top: 0, left: 0, bottom: 1, right: 1 };
  await check({ batch: 1, height: 6, width: 8, inChannels: 4, outChannels: 8, ...three, stride: 2, padding });
});

Deno.test("conv2d kernels agree with the definition for a 1 × 1 kernel", async () => {
  const kernel = { kernelHeight: 1, kernelWidth: 1, padding: none };
  await check({ batch: 2, height: 4, width: 3, inChannels: 8, outChannels: 12, ...kernel, stride: 1 });
  await check({ batch: 1, height: 5, width: 4, inChannels: 4, outChannels: 4, ...kernel, stride: 2 });
});

Deno.test("conv2d kernels widen f16 weights", async () => {
  await check({ batch: 1, height: 4, width: 5, inChannels: 8, outChannels: 8, ...three }, { f16: true });
  await check({ batch: 1, height: 4, width: 4, inChannels: 3, outChannels: 5, ...three }, { f16: true, addend: true });
});

Deno.test("conv2d kernels read 8-bit weights", async () => {
  await check({ batch: 1, height: 4, width: 5, inChannels: 8, outChannels: 8, ...three }, { q8: true, gpu: true });
});

Deno.test("conv2d kernels for GPUs agree with the definition where workgroups sum parts", async () => {
  const [gpu] = targets.filter(({ cpu }) => !cpu);
  const run = async (kernel: Kernel, inputs: Float32Array[], count: number) => {
    ok(kernel.finish, "the sum is long and the results are few");
    return (await runKernel(device, kernel, inputs, [count]))[0];
  };
  // Channels that steps loaded together have no tap in common of; two pictures; with what is added last.
  const few = { batch: 2, height: 3, width: 3, inChannels: 1100, outChannels: 36, ...three };
  const x = testValues(2 * 3 * 3 * 1100, 1), weight = testValues(3 * 3 * 1100 * 36, 2), bias = testValues(36, 3);
  const y = Float32Array.from({ length: 2 * 3 * 3 * 36 }, (_, i) => bias[i % 36]);
  eachProduct(few, (i, w, o) => y[o] += x[i] * weight[w]);
  close(await run(conv2dForward({ ...few, bias: "f32" }, gpu), [x, weight, bias], y.length), y, "output");
  // Four classes of pixels, which are stored where they belong.
  const halved = { batch: 1, height: 5, width: 5, inChannels: 32, outChannels: 2048, ...three, stride: 2 };
  const dy = testValues(3 * 3 * 2048, 4), weights = testValues(3 * 3 * 32 * 2048, 5), dx = new Float32Array(5 * 5 * 32);
  eachProduct(halved, (i, w, o) => dx[i] += dy[o] * weights[w]);
  close(await run(conv2dInputGradient(halved, gpu), [dy, weights], dx.length), dx, "dx");
});
