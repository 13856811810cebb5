/**
 * The ops in TensorFlow.js on its WebGPU backend, in its own NHWC layout, for `bench:peers`; see `serve`.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-layers"; // registers the gradients
import "@tensorflow/tfjs-backend-webgpu";
import { differentiatedInputs, inputsOf, type Op, type Pass } from "../../op_list.ts";
import { type PeerWork, serve } from "../serve.ts";
import { adapterName, transpose } from "./layout.ts";
type T = tf.Tensor;

function normalize(x: T, axes: number[]): T {
  const { mean, variance } = tf.moments(x, axes, true);
  return tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, 1e-5)));
}

const convolve = (x: T, w: T) => tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, "same");

const functions: Record<Op["op"], (...inputs: T[]) => T> = {
  matmul: (a, b) => tf.matMul(a, b),
  conv3x3: convolve,
  conv1x1: convolve,
  linear: (x, w) => tf.matMul(x, w),
  attention: (q, k, v) => tf.matMul(tf.softmax(tf.mul(tf.matMul(q, k, false, true), q.shape[3]! ** -0.5)), v),
  group_norm_silu: (x, scale, bias) => {
    const [n, h, w, c] = x.shape as [number, number, number, number];
    const y = tf.reshape(normalize(tf.reshape(x, [n, h * w, 32, c / 32]), [1, 3]), x.shape);
    const z = tf.add(tf.mul(y, scale), bias);
    return tf.mul(z, tf.sigmoid(z));
  },
  layer_norm: (x, scale, bias) => tf.add(tf.mul(normalize(x, [-1]), scale), bias),
  silu: (x) => tf.mul(x, tf.sigmoid(x)),
};

function prepare(op: Op, pass: Pass): PeerWork {
  const f = functions[op.op], count = differentiatedInputs(op);
  const inputs = inputsOf(op, pass)
    .map((input) => op.op === "attention" ? transpose(input, [0, 2, 1, 3]) : input)
    .map(({ shape, data }) => tf.tensor(data, [...shape]));
  const dy = pass === "forward" ? undefined : inputs.pop();
  const gradients = tf.grads((...xs: T[]) => f(...xs, ...inputs.slice(count)));
  const results = () => dy ? gradients(inputs.slice(0, count), dy) : [f(...inputs)];

  let last: T = tf.scalar(0);
  return {
    run() {
      last.dispose();
      last = tf.tidy(() => results()[0]);
    },
    async wait() {
      const element = tf.tidy(() => tf.slice(tf.reshape(last, [-1]), [0], [1]));
      await element.data();
      element.dispose();
    },
    async check() {
      const mean = tf.tidy(() => tf.mean(tf.abs(last)));
      const [value] = await mean.data();
      mean.dispose();
      return value;
    },
    dispose: () => tf.dispose([last, ...inputs, ...dy ? [dy] : []]),
  };
}

if (!await tf.setBackend("webgpu")) throw new Error("TensorFlow.js has no WebGPU backend here");
await serve(
  { peer: "tfjs", version: "@tensorflow/tfjs-backend-webgpu 4.22.0", adapter: await adapterName() },
  prepare,
);
