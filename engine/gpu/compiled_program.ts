import { byName, inputNames } from "../graph/op.ts";
import type { Kernel, KernelTarget } from "../graph/kernel.ts";
import { bindingAlignmentBytes } from "../graph/tensor.ts";
import { elementCount } from "../graph/types.ts";
import type { Location, Port, Program, Step } from "../plan/plan.ts";
import { shareSizes } from "./share_sizes.ts";
import { type Device, type HostArray, hostArray, uploadBytes } from "./device.ts";

interface Dispatch {
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  readonly workgroups: readonly [number, number, number];
}

/** A program with its buffers and pipelines on a device, ready to be replayed. */
export class CompiledProgram {
  private readonly dispatches: Dispatch[] = [];
  private readonly slots: GPUBuffer[] = [];
  private sizes: GPUBuffer | null = null;
  private destroyed = false;

  private constructor(private readonly device: Device, readonly program: Program) {}

  /** Called by `Device.compile`. */
  static async make(device: Device, program: Program): Promise<CompiledProgram> {
    const compiled = new CompiledProgram(device, program);
    try {
      for (const [slot, sizeBytes] of program.slots.entries()) {
        compiled.slots.push(device.makeBuffer(`slot ${slot}`, sizeBytes));
      }
      const kernels = program.steps.map((step) => kernelOf(step, device.facts.target));
      const sizes = new SizesBuffer(kernels.map(({ kernel }) => kernel.sizes));
      if (sizes.sizeBytes > 0) compiled.sizes = sizes.upload(device);
      for (const [index, step] of program.steps.entries()) {
        const { label, kernel } = kernels[index];
        const accesses = step.bindings.map((binding) => binding.access === "read" ? "r" : "w").join("") +
          (kernel.sizes ? "u" : "");
        const pipeline = await device.pipeline(label, kernel, accesses);
        const resources: GPUBufferBinding[] = step.bindings.map((location) => ({
          buffer: compiled.bufferOf(location),
          offset: location.offsetBytes,
          size: location.sizeBytes,
        }));
        if (kernel.sizes) resources.push({ buffer: compiled.sizes!, ...sizes.place(kernel.sizes) });
        const bindGroup = device.gpu.createBindGroup({
          label,
          layout: device.layout(accesses),
          entries: resources.map((resource, binding) => ({ binding, resource })),
        });
        compiled.dispatches.push({ pipeline, bindGroup, workgroups: kernel.workgroups });
      }
    } catch (error) {
      compiled.destroyBuffers();
      throw error;
    }
    return compiled;
  }

  /**
   * Feeds the inputs and queues one run of all steps in one pass. Does not wait.
   *
   * @param feeds Elements of every input, by name; numbers of another format are converted.
   * @param options.record Recorders that keep this run's figures.
   * @throws {TypeError} If an input is missing, unknown, or of the wrong length.
   */
  run(feeds: Readonly<Record<string, ArrayLike<number>>> = {}, options: { record?: readonly Recorder[] } = {}): void {
    if (this.destroyed) throw new Error("Cannot run: the program was released");
    this.device.check();
    const { gpu } = this.device;
    for (const name of Object.keys(feeds)) {
      if (!this.program.inputs.has(name)) {
        throw new TypeError(
          `Cannot run: ${name} is no input; inputs are ${[...this.program.inputs.keys()].join(", ")}`,
        );
      }
    }
    for (const [name, { type, location }] of this.program.inputs) {
      if (!(name in feeds)) throw new TypeError(`Cannot run: input ${name} is missing`);
      gpu.queue.writeBuffer(this.bufferOf(location), location.offsetBytes, uploadBytes(name, type, feeds[name]));
    }
    const encoder = gpu.createCommandEncoder();
    const pass = encoder.beginComputePass();
    let last: GPUComputePipeline | null = null;
    for (const { pipeline, bindGroup, workgroups } of this.dispatches) {
      if (pipeline !== last) pass.setPipeline(last = pipeline);
      pass.setBindGroup(0, bindGroup);
      pass.dispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2]);
    }
    pass.end();
    for (const recorder of options.record ?? []) recorder.encode(encoder, this.bufferOf(recorder.port.location));
    gpu.queue.submit([encoder.finish()]);
  }

  /** Reads outputs back, after all runs queued so far. */
  async read(...names: string[]): Promise<Record<string, HostArray>> {
    const ports = names.map((name) => this.output(name));
    const bytes = await this.device.readBuffers(ports.map(({ location }) => ({
      buffer: this.bufferOf(location),
      offsetBytes: location.offsetBytes,
      sizeBytes: location.sizeBytes,
    })));
    return Object.fromEntries(
      names.map((name, i) => [name, hostArray(ports[i].type.dtype, bytes[i], elementCount(ports[i].type.shape))]),
    );
  }

  /** Keeps one output of many runs on the device, to be read back together: a readback costs about 12 ms. */
  recorder(name: string, options: { rows: number }): Recorder {
    return new Recorder(this.device, this.output(name), options.rows);
  }

  /** Called by `Device.release`. */
  destroyBuffers(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    for (const slot of this.slots) this.device.destroyBuffer(slot);
    if (this.sizes) this.device.destroyBuffer(this.sizes);
  }

  private output(name: string): Port {
    const port = this.program.outputs.get(name);
    if (!port) {
      throw new TypeError(`Cannot read ${name}: outputs are ${[...this.program.outputs.keys()].join(", ") || "none"}`);
    }
    return port;
  }

  private bufferOf({ buffer }: Location): GPUBuffer {
    return buffer.kind === "slot" ? this.slots[buffer.slot] : this.device.bufferOf(buffer.variable);
  }
}

/** A small output of up to `rows` runs, kept on the device until it is read back in one go. */
export class Recorder {
  private readonly buffer: GPUBuffer;
  private count = 0;

  constructor(private readonly device: Device, readonly port: Port, private readonly rows: number) {
    this.buffer = device.makeBuffer("recorder", port.location.sizeBytes * rows);
  }

  /** Runs recorded since the last `read`. */
  get pending(): number {
    return this.count;
  }

  /** Called by `CompiledProgram.run`. */
  encode(encoder: GPUCommandEncoder, from: GPUBuffer): void {
    const { offsetBytes, sizeBytes } = this.port.location;
    if (this.count === this.rows) throw new RangeError(`Cannot record: ${this.rows} rows are full, read them first`);
    encoder.copyBufferToBuffer(from, offsetBytes, this.buffer, this.count++ * sizeBytes, sizeBytes);
  }

  /** The recorded rows in order, oldest first; the recorder is empty afterwards. */
  async read(): Promise<HostArray[]> {
    if (this.count === 0) return [];
    const { sizeBytes } = this.port.location;
    const [bytes] = await this.device.readBuffers([{
      buffer: this.buffer,
      offsetBytes: 0,
      sizeBytes: this.count * sizeBytes,
    }]);
    const rows = Array.from(
      { length: this.count },
      (_, row) =>
        hostArray(
          this.port.type.dtype,
          bytes.slice(row * sizeBytes, (row + 1) * sizeBytes),
          elementCount(this.port.type.shape),
        ),
    );
    this.count = 0;
    return rows;
  }

  /** Frees the rows. */
  dispose(): void {
    this.device.destroyBuffer(this.buffer);
  }
}

/** The sizes of all kernels of a program in one uniform buffer; equal sizes share a place. */
class SizesBuffer {
  private readonly places = new Map<string, { offset: number; size: number; values: readonly number[] }>();
  /** Bytes of the buffer. */
  readonly sizeBytes: number;

  constructor(all: readonly (readonly number[] | undefined)[]) {
    let offset = 0;
    for (const values of all) {
      if (!values || this.places.has(values.join())) continue;
      const size = Math.ceil(values.length / 4) * 16;
      this.places.set(values.join(), { offset, size, values });
      offset += Math.ceil(size / bindingAlignmentBytes) * bindingAlignmentBytes;
    }
    this.sizeBytes = offset;
  }

  /** What to bind for a kernel's sizes. */
  place(values: readonly number[]): { offset: number; size: number } {
    const { offset, size } = this.places.get(values.join())!;
    return { offset, size };
  }

  upload(device: Device): GPUBuffer {
    const buffer = device.makeBuffer("sizes", this.sizeBytes, GPUBufferUsage.UNIFORM);
    const words = new Uint32Array(this.sizeBytes / 4);
    for (const { offset, values } of this.places.values()) words.set(values, offset / 4);
    device.gpu.queue.writeBuffer(buffer, 0, words);
    return buffer;
  }
}

function kernelOf(step: Step, target: KernelTarget): { label: string; kernel: Kernel } {
  if (step.kind === "copy") {
    return { label: `pack ${step.scope}`, kernel: copyKernel(step.bindings[0].sizeBytes, target) };
  }
  const { op, inputs, outputs, attributes, scope } = step.node;
  const kernel = op.kernel({
    inputs: byName(inputNames(op), inputs) as never,
    outputs,
    output: outputs[0],
    attributes,
    target,
  });
  return { label: scope ? `${op.name} ${scope}` : op.name, kernel: target.cpu ? shareSizes(kernel) : kernel };
}

/** Copies 4-byte words, one invocation each. */
function copyKernel(sizeBytes: number, target: KernelTarget): Kernel {
  const words = sizeBytes / 4, groups = Math.ceil(words / 64);
  const x = Math.min(groups, target.maxWorkgroupsPerDimension);
  return {
    workgroups: [x, Math.ceil(groups / x), 1],
    wgsl: `@group(0) @binding(0) var<storage, read> source: array<u32>;
@group(0) @binding(1) var<storage, read_write> result: array<u32>;
const WORDS = ${words}u;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3u) {
  let i = at.x + at.y * ${x * 64}u;
  if (i < WORDS) { result[i] = source[i]; }
}
`,
  };
}
