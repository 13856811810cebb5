import { defineOp, Device, type KernelTarget, plan, type Tensor, Variable } from "../engine/mod.ts";
import { deviceMs } from "./device_time.ts";
import type { Line } from "./line.ts";
import { timeRuns, type Timing } from "./timing.ts";

/** What an adapter can do at most. */
export interface Peaks {
  /** 10⁹ operations in f32 per second, a multiply-add counted as two. */
  readonly gflops: number;
  /** 10⁹ bytes read or written per second. */
  readonly gigabytes: number;
}

/** Peaks as they are measured. */
export interface MeasuredPeaks extends Peaks {
  /** As `gflops`, of halves, two at a time; null where the adapter has no shader-f16. */
  readonly halfGflops: number | null;
}

/** An adapter's peaks, measured by tiny kernels. */
export interface Roofline {
  readonly adapter: string;
  /** The adapter is a CPU: its CPU time is what says how long a kernel ran. */
  readonly cpu: boolean;
  /** Per second of the clock; on a GPU with timestamps of the device's. */
  readonly byClock: MeasuredPeaks;
  /** Per second of the process's CPU time. */
  readonly byCpu: MeasuredPeaks;
}

/** What bounds a piece of work, and how far it is from there. */
export interface Share {
  readonly bound: "arithmetic" | "memory";
  /** Part of the adapter's peak that was reached. */
  readonly share: number;
}

const workgroupSize = 64;
/** Chains that do not wait for each other: enough to keep several units busy, few enough for the registers. */
const chains = 8, unrolled = 8, rounds = 256;
const operationsEach = 2 * chains * unrolled * rounds;
/** A CPU adapter copies twice as fast as with one vector for each invocation. */
const vectorsEach = 4;
/** Larger than a CPU's caches, and below what any adapter binds; a GPU's caches may hold as much. */
const copiedBytes = { cpu: 96 * 2 ** 20, gpu: 240 * 2 ** 20 };

/** @param number WGSL type that the chains are of. */
const multiplyAdds = (name: string, number: "f32" | "vec2<f16>", sum: (chains: string) => string) =>
  defineOp({
    name,
    inputs: ["x"],
    type: ({ x }) => x,
    kernel: ({ inputs: { x } }) => ({
      workgroups: [x.shape[0] / workgroupSize, 1, 1],
      wgsl: `${number === "f32" ? "" : "enable f16;"}
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(${workgroupSize})
fn main(@builtin(global_invocation_id) at: vec3u) {
  let start = ${number}(${number === "f32" ? "" : "f16"}(x[at.x]));
  let factor = ${number}(0.999) + ${number}(1e-4) * start;
  let addend = ${number}(1e-3) * start;
  ${eachChain((i) => `var a${i} = start + ${number}(${i}.0);`)}
  for (var round = 0u; round < ${rounds}u; round++) {
    ${Array(unrolled).fill(eachChain((i) => `a${i} = fma(a${i}, factor, addend);`)).join("\n    ")}
  }
  y[at.x] = ${sum(eachChain((i) => `a${i}`, " + "))};
}
`,
    }),
    samples: [],
  });

const arithmetic = multiplyAdds("roofline_arithmetic", "f32", (chains) => chains);
/** Vectors of two are what hardware multiplies at once. */
const halfArithmetic = multiplyAdds(
  "roofline_half_arithmetic",
  "vec2<f16>",
  (chains) => `f32(dot(${chains}, vec2<f16>(1.0)))`,
);

const copy = defineOp({
  name: "roofline_copy",
  inputs: ["x"],
  type: ({ x }) => x,
  kernel: ({ inputs: { x } }) => ({
    workgroups: [x.shape[0] / (4 * workgroupSize * vectorsEach), 1, 1],
    wgsl: `@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(${workgroupSize})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let first = group.x * ${workgroupSize * vectorsEach}u + local;
  ${
      Array.from({ length: vectorsEach }, (_, i) =>
        `y[first + ${i * workgroupSize}u] = x[first + ${i * workgroupSize}u];`)
        .join("\n  ")
    }
}
`,
  }),
  samples: [],
});

function eachChain(text: (index: number) => string, separator = " "): string {
  return Array.from({ length: chains }, (_, i) => text(i)).join(separator);
}

/**
 * Measures an adapter's peak rates, in some seconds.
 *
 * @param options.seconds Time for each of the kernels.
 */
export async function measureRoofline(device: Device, { seconds }: { seconds: number }): Promise<Roofline> {
  const { name, target } = device.facts, invocations = arithmeticInvocations(target);
  const products = await timeKernel(device, arithmetic, invocations, seconds);
  const copied = target.cpu || device.facts.maxBindingBytes < copiedBytes.gpu ? copiedBytes.cpu : copiedBytes.gpu;
  const copies = await timeKernel(device, copy, copied / 4, seconds);
  const halves = target.f16 ? await timeKernel(device, halfArithmetic, invocations, seconds) : null;
  const operations = operationsEach * invocations / 1e6, bytes = 2 * copied / 1e6;
  const peaks = (ms: (timing: Timing) => number): MeasuredPeaks => ({
    gflops: operations / ms(products),
    gigabytes: bytes / ms(copies),
    halfGflops: halves && 2 * operations / ms(halves),
  });
  return { adapter: name, cpu: target.cpu, byClock: peaks(({ minMs }) => minMs), byCpu: peaks(({ cpuMs }) => cpuMs) };
}

/** A GPU wants many invocations at once; for a CPU they would only take long. */
function arithmeticInvocations({ cpu }: KernelTarget): number {
  return workgroupSize * (cpu ? 64 : 16384);
}

async function timeKernel(
  device: Device,
  op: (x: Tensor) => Tensor,
  count: number,
  seconds: number,
): Promise<Timing> {
  const x = new Variable("x", { shape: [count], dtype: "f32" }),
    mark = new Variable("mark", { shape: [1], dtype: "f32" });
  device.upload(x, new Float32Array(count).fill(0.5));
  device.upload(mark, [0]);
  const program = await device.compile(plan({ outputs: { y: op(x.tensor) } }));
  try {
    const timing = await timeRuns({
      run: () => program.run(),
      wait: async () => {
        await device.download(mark);
      },
    }, { seconds });
    const { cpu } = device.facts.target, onDevice = cpu ? null : await deviceMs(device, () => program.run());
    return onDevice === null ? timing : { ...timing, minMs: onDevice };
  } finally {
    device.release(program);
    device.free([x, mark]);
  }
}

/**
 * Which peak bounds a piece of work, and the share of it that was reached.
 *
 * @param work.operations In f32; 0 where only memory counts.
 * @param work.bytes That have to be read or written at least.
 * @param work.ms What it took, by the clock by which the peaks were measured.
 */
export function shareOfPeak(
  peaks: Pick<Peaks, "gflops" | "gigabytes">,
  work: { operations: number; bytes: number; ms: number },
): Share {
  const arithmeticMs = work.operations / peaks.gflops / 1e6, memoryMs = work.bytes / peaks.gigabytes / 1e6;
  const bound = arithmeticMs >= memoryMs ? "arithmetic" : "memory";
  return { bound, share: Math.max(arithmeticMs, memoryMs) / work.ms };
}

/** A roofline as a line of the benchmarks. */
export function rooflineLine({ adapter, cpu, byClock: { gflops, gigabytes, halfGflops }, byCpu }: Roofline): Line {
  const more: Line = cpu ? { gflops_by_cpu: byCpu.gflops, gigabytes_by_cpu: byCpu.gigabytes } : {};
  return { op: "roofline", gflops, gigabytes, gflops_f16: halfGflops, ...more, adapter };
}

/** A roofline as a line of text. */
export function rooflineText({ adapter, cpu, byClock, byCpu }: Roofline): string {
  const text = ({ gflops, gigabytes, halfGflops }: MeasuredPeaks) =>
    `${gflops.toFixed(1)} GFLOP/s in f32${halfGflops === null ? "" : `, ${halfGflops.toFixed(1)} in f16`} and ${
      gigabytes.toFixed(1)
    } GB/s`;
  return `${adapter}: at most ${text(byClock)}${cpu ? `; per second of CPU time ${text(byCpu)}` : ""}. ${
    halfText(cpu ? byCpu : byClock)
  }`;
}

/** Below this ratio of the two peaks f16 arithmetic is not worth what it rounds. */
const worthwhile = 1.2;

/** Whether f16 arithmetic pays on an adapter. */
function halfText({ gflops, halfGflops }: MeasuredPeaks): string {
  if (halfGflops === null) return "The adapter has no f16 arithmetic";
  const ratio = halfGflops / gflops;
  return ratio < worthwhile
    ? `f16 arithmetic (--f16_arithmetic) gains nothing here: ${ratio.toFixed(2)} times the rate of f32`
    : `f16 arithmetic (--f16_arithmetic) may pay here: ${ratio.toFixed(2)} times the rate of f32`;
}

if (import.meta.main) {
  using device = await Device.open();
  console.log(rooflineText(await measureRoofline(device, { seconds: 2 })));
}
