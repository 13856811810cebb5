/**
 * The ops in jax-js, under `jit`, in its own NCHW layout, for `bench:peers`; see `serve`.
 *
 * @module
 */
import * as jax from "@jax-js/jax";
import { differentiatedInputs, type Input, inputsOf, type Op, type Pass } from "../../op_list.ts";
import { type PeerWork, serve } from "../serve.ts";
import { adapterName, transpose } from "./layout.ts";
const { lax, nn, numpy: np } = jax;
type A = jax.Array;

/** Runs: jax-js submits nothing until someone asks for a result. */
const flushEvery = 16;

const convolve = (x: A, w: A) => lax.conv(x, w, [1, 1], "SAME");

const functions: Record<Op["op"], (...inputs: A[]) => A> = {
  matmul: (a, b) => np.matmul(a, b),
  conv3x3: convolve,
  conv1x1: convolve,
  linear: (x, w) => np.matmul(x, w),
  attention: (q, k, v) => nn.dotProductAttention(q, k, v),
  group_norm_silu: (x, scale, bias) => {
    const [n, c, h, w] = x.shape;
    const y = nn.standardize(x.reshape([n, 32, -1]), -1).reshape([n, c, h, w]);
    return nn.silu(y.mul(scale.reshape([c, 1, 1])).add(bias.reshape([c, 1, 1])));
  },
  layer_norm: (x, scale, bias) => nn.standardize(x, -1).mul(scale).add(bias),
  silu: (x) => nn.silu(x),
};

function ownLayout({ op }: Op, input: Input, index: number): Input {
  const isPicture = op === "conv3x3" || op === "conv1x1" || op === "group_norm_silu";
  if (!isPicture || input.shape.length !== 4) return input;
  return transpose(input, op !== "group_norm_silu" && index === 1 ? [3, 2, 0, 1] : [0, 3, 1, 2]);
}

function prepare(op: Op, pass: Pass): PeerWork {
  const f = functions[op.op], count = differentiatedInputs(op);
  const inputs = inputsOf(op, pass).map((input, i) => {
    const { shape, data } = ownLayout(op, input, i);
    return np.array(data).reshape([...shape]);
  });

  // Each run adds one element of its result to a running scalar; reading that scalar forces all runs so far.
  const compiled = jax.jit((sum: A, ...all: A[]) => {
    let results: A[];
    if (pass === "forward") {
      results = [f(...all)];
    } else {
      const dy = all.pop()!, frozen = all.slice(count);
      const [y, back] = jax.vjp((...xs: A[]) => f(...xs, ...frozen.map((x) => x.ref)), all.slice(0, count));
      results = [...back(dy) as A[], y];
      back.dispose();
      frozen.forEach((x) => x.dispose());
    }
    return [sum.add(results[0].ref.flatten().slice(0)), ...results];
  });

  let sum: A = np.array(new Float32Array(1)).reshape([]);
  let runs = 0, flushes: Promise<unknown>[] = [];
  const run = () => {
    const [next, ...results] = compiled(sum, ...inputs.map((x) => x.ref)) as A[];
    sum = next;
    return results;
  };
  return {
    run() {
      run().forEach((x) => x.dispose());
      if (++runs % flushEvery === 0) flushes.push(sum.ref.blockUntilReady().then((x: A) => x.dispose()));
    },
    async wait() {
      await Promise.all(flushes);
      flushes = [];
      await sum.ref.data();
    },
    async check() {
      const [first, ...others] = run();
      others.forEach((x) => x.dispose());
      return (await np.mean(np.abs(first)).data())[0];
    },
    dispose: () => [sum, ...inputs].forEach((x) => x.dispose()),
  };
}

await jax.init("webgpu");
jax.defaultDevice("webgpu");
await serve({ peer: "jax-js", version: "@jax-js/jax 0.1.25", adapter: await adapterName() }, prepare);
