import type { Kernel } from "../graph/kernel.ts";
import type { Variable } from "../graph/tensor.ts";
import {
  bufferBytes,
  byteLength,
  type DType,
  elementCount,
  q8Block,
  type TensorType,
  typeText,
} from "../graph/types.ts";
import { checkLimits } from "../plan/limits.ts";
import type { KernelTarget } from "../graph/kernel.ts";
import type { Program } from "../plan/plan.ts";
import { type AdapterFacts, checkF16Arithmetic, requestDevice } from "./adapter.ts";
import { CompiledProgram } from "./compiled_program.ts";
import type { SlotPool } from "./slot_pool.ts";

/** Elements as the host holds them: one kind of array for each dtype. JavaScript has no bf16; of such elements it holds the bits, in a `Uint16Array`, and q8's words in a `Uint32Array`. */
export type HostArray = Float32Array | Float16Array | Uint16Array | Uint32Array | Int32Array;

/** The device went away: nothing on it can be read any more. A run goes on from its last saved state. */
export class DeviceLostError extends Error {
  override name = "DeviceLostError";
}

/** The device has no room for a buffer. */
export class OutOfMemoryError extends Error {
  override name = "OutOfMemoryError";
}

/** Bytes as an array of the dtype's kind. */
export function hostArray(dtype: DType, bytes: ArrayBuffer, count: number): HostArray {
  switch (dtype) {
    case "f32":
      return new Float32Array(bytes, 0, count);
    case "f16":
      return new Float16Array(bytes, 0, count);
    case "bf16":
      return new Uint16Array(bytes, 0, count);
    case "q8":
      return new Uint32Array(bytes, 0, storedCount({ shape: [count], dtype }));
    case "u32":
      return new Uint32Array(bytes, 0, count);
    case "i32":
      return new Int32Array(bytes, 0, count);
  }
}

/**
 * The bytes to upload for a tensor of this type; numbers of another format are converted, but not to bf16 or q8: of those the bits are wanted.
 *
 * @throws {TypeError} If the number of elements differs: `Cannot upload latents: 12 elements, f32 [2, 3] wants 6`.
 */
export function uploadBytes(name: string, type: TensorType, data: ArrayLike<number>): Uint8Array<ArrayBuffer> {
  const count = storedCount(type);
  if (data.length !== count) {
    throw new TypeError(`Cannot upload ${name}: ${data.length} elements, ${typeText(type)} wants ${count}`);
  }
  if (type.dtype === "bf16" && !(data instanceof Uint16Array)) {
    throw new TypeError(`Cannot upload ${name}: ${typeText(type)} wants the elements' bits, in a Uint16Array`);
  }
  if (type.dtype === "q8" && !(data instanceof Uint32Array)) {
    throw new TypeError(`Cannot upload ${name}: ${typeText(type)} wants its words, in a Uint32Array`);
  }
  const sizeBytes = byteLength(type);
  // Large weights are not copied once more; a length that is no multiple of 4 has to be padded.
  if (isKindOf(type.dtype, data) && data.byteLength === sizeBytes) {
    return new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, sizeBytes);
  }
  const buffer = new ArrayBuffer(sizeBytes);
  hostArray(type.dtype, buffer, elementCount(type.shape)).set(data);
  return new Uint8Array(buffer);
}

/** Elements as the host holds them: words, of a q8 tensor. */
function storedCount({ shape, dtype }: TensorType): number {
  return dtype === "q8" ? elementCount(shape) / q8Block.elements * q8Block.words : elementCount(shape);
}

function isKindOf(dtype: DType, data: ArrayLike<number>): data is HostArray {
  return data instanceof hostArray(dtype, new ArrayBuffer(0), 0).constructor;
}

/**
 * A GPU, or a CPU that stands in for one, with what lives on it: variables and compiled pipelines.
 *
 * Make one per process with `Device.open()` and `using device = …`, or call `dispose`.
 */
export class Device {
  private readonly variables = new Map<Variable, GPUBuffer>();
  private readonly pipelines = new Map<string, GPUComputePipeline>();
  private readonly layouts = new Map<string, GPUBindGroupLayout>();
  private readonly compiled = new Set<CompiledProgram>();
  private readonly allocated = new Map<GPUBuffer, { readonly label: string; readonly sizeBytes: number }>();
  private failure: Error | null = null;
  private isDisposed = false;

  private constructor(readonly gpu: GPUDevice, readonly facts: AdapterFacts) {
    gpu.lost.then(({ message }) => {
      if (this.isDisposed) return;
      this.fail(
        new DeviceLostError(
          `The GPU device was lost: ${message}. Start again: the run goes on from its last checkpoint`,
        ),
      );
    });
    gpu.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      const { error } = event as GPUUncapturedErrorEvent;
      this.fail(
        error instanceof GPUOutOfMemoryError
          ? this.outOfMemory("what it is to compute")
          : new Error(`The GPU device failed: ${error.message}`),
      );
    });
  }

  /** Keeps what went wrong first; that memory was short or the device went counts before what came of it, and wgpu gives a device up that is short of memory. */
  private fail(error: Error): void {
    const rank = (error: Error) => error instanceof OutOfMemoryError ? 2 : error instanceof DeviceLostError ? 1 : 0;
    if (this.failure === null || rank(error) > rank(this.failure)) this.failure = error;
  }

  private outOfMemory(what: string): OutOfMemoryError {
    const all = [...this.allocated.values()].toSorted((a, b) => b.sizeBytes - a.sizeBytes);
    const largest = all.slice(0, 5).map(({ label, sizeBytes }) => `${label}, ${sizeBytes} bytes`);
    return new OutOfMemoryError(
      `${this.facts.name} has no memory left for ${what}: ${this.statistics.bytes} bytes are taken or asked for in ` +
        `${all.length} buffers. The largest are ${
          largest.join("; ")
        }. Use a smaller batch, smaller pictures, gradient ` +
        "checkpointing, 16-bit weights or a lower rank, or end other programs that use it",
    );
  }

  /**
   * Opens the machine's adapter.
   *
   * @param options.f16Arithmetic Products whose operands and result are stored in f16 are multiplied in f16: see docs/decisions/0094-f16-arithmetic.md.
   * @param options.target What kernels are to believe of the adapter instead of its own facts: for tests and measurements.
   * @throws {NoAdapterError} If there is none.
   * @throws {RangeError} If products in f16 are asked for where they are not to be had, or slower.
   */
  static async open(
    { f16Arithmetic = false, target = {} }: { f16Arithmetic?: boolean; target?: Partial<KernelTarget> } = {},
  ): Promise<Device> {
    const { gpu, facts } = await requestDevice();
    try {
      if (f16Arithmetic) checkF16Arithmetic({ ...facts, ...facts.target });
    } catch (error) {
      gpu.destroy();
      throw error;
    }
    const asked = f16Arithmetic ? { f16Arithmetic } : {};
    return new Device(gpu, { ...facts, target: { ...facts.target, ...asked, ...target } });
  }

  /** Figures for leak tests and reports. */
  get statistics(): { buffers: number; bytes: number; pipelines: number } {
    const bytes = this.allocated.values().reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    return { buffers: this.allocated.size, bytes, pipelines: this.pipelines.size };
  }

  /** Throws what the device reported since the last check, if anything. */
  check(): void {
    if (this.failure) throw this.failure;
  }

  /**
   * Places the program's slots and variables and compiles its kernels.
   *
   * @param options.pool Buffers that the program shares with others; it has its own when left out.
   * @param options.f16Arithmetic False: multiplies in f32 though the device was opened for f16.
   * @throws {RangeError} If a tensor is larger than the adapter binds or holds, see `checkLimits`.
   * @throws {OutOfMemoryError} If the device has no room for its buffers.
   */
  async compile(
    program: Program,
    { pool = null, f16Arithmetic = true }: { pool?: SlotPool | null; f16Arithmetic?: boolean } = {},
  ): Promise<CompiledProgram> {
    this.check();
    checkLimits(program, this.facts);
    const { target } = this.facts;
    const compiled = await CompiledProgram.make(
      this,
      program,
      pool,
      f16Arithmetic ? target : { ...target, f16Arithmetic },
    );
    this.compiled.add(compiled);
    this.check();
    return compiled;
  }

  /** Frees a program's own buffers; variables stay, and a pool that it shared. */
  release(compiled: CompiledProgram): void {
    if (this.compiled.delete(compiled)) compiled.destroyBuffers();
  }

  /** Writes a variable's elements, making its buffer if it has none yet. f32 numbers are converted to the variable's dtype. */
  upload(variable: Variable, data: ArrayLike<number>): void {
    this.check();
    const bytes = uploadBytes(variable.name, variable, data);
    this.gpu.queue.writeBuffer(this.bufferOf(variable), 0, bytes);
  }

  /** Reads a variable's elements back. */
  async download(variable: Variable): Promise<HostArray> {
    const sizeBytes = byteLength(variable);
    const [bytes] = await this.readBuffers([{ buffer: this.bufferOf(variable), offsetBytes: 0, sizeBytes }]);
    return hostArray(variable.dtype, bytes, elementCount(variable.shape));
  }

  /** Frees variables' buffers. A program compiled with them must not run again. */
  free(variables: Iterable<Variable>): void {
    for (const variable of variables) {
      const buffer = this.variables.get(variable);
      if (!buffer) continue;
      this.destroyBuffer(buffer);
      this.variables.delete(variable);
    }
  }

  /** Frees everything and gives the device back. */
  dispose(): void {
    this.isDisposed = true;
    for (const compiled of this.compiled) compiled.destroyBuffers();
    this.compiled.clear();
    this.free([...this.variables.keys()]);
    this.gpu.destroy();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** The variable's buffer, zero-filled when it is new. */
  bufferOf(variable: Variable): GPUBuffer {
    let buffer = this.variables.get(variable);
    if (!buffer) {
      buffer = this.makeBuffer(variable.name, byteLength(variable));
      this.variables.set(variable, buffer);
    }
    return buffer;
  }

  /**
   * A zero-filled buffer, for storage unless told otherwise.
   *
   * @throws {RangeError} If it is larger than the adapter's buffers can be.
   */
  makeBuffer(label: string, sizeBytes: number, usage: GPUBufferUsageFlags = GPUBufferUsage.STORAGE): GPUBuffer {
    const { name, maxBufferBytes } = this.facts;
    if (sizeBytes > maxBufferBytes) {
      throw new RangeError(
        `Cannot allocate ${label}: ${sizeBytes} bytes, a buffer of ${name} has at most ${maxBufferBytes}`,
      );
    }
    const size = bufferBytes(sizeBytes);
    this.gpu.pushErrorScope("out-of-memory");
    const buffer = this.gpu.createBuffer({
      label,
      size,
      usage: usage | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    this.allocated.set(buffer, { label, sizeBytes: size });
    // Told at the next check: whoever asked for the buffer does not wait.
    this.gpu.popErrorScope().then(
      (error) => error && this.fail(this.outOfMemory(`${label} of ${size} bytes`)),
      // Scopes of a device that is lost end so, and that is told.
      (error) => this.fail(error),
    );
    return buffer;
  }

  /** Frees a buffer that `makeBuffer` made. */
  destroyBuffer(buffer: GPUBuffer): void {
    this.allocated.delete(buffer);
    buffer.destroy();
  }

  /** Copies parts of buffers to the host, all in one wait. */
  async readBuffers(
    parts: readonly { buffer: GPUBuffer; offsetBytes: number; sizeBytes: number }[],
  ): Promise<ArrayBuffer[]> {
    this.check();
    const total = parts.reduce((sum, part) => sum + part.sizeBytes, 0);
    const staging = this.gpu.createBuffer({
      size: Math.max(16, total),
      usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
    });
    const encoder = this.gpu.createCommandEncoder();
    let at = 0;
    for (const { buffer, offsetBytes, sizeBytes } of parts) {
      encoder.copyBufferToBuffer(buffer, offsetBytes, staging, at, sizeBytes);
      at += sizeBytes;
    }
    this.gpu.queue.submit([encoder.finish()]);
    try {
      await staging.mapAsync(GPUMapMode.READ);
    } catch (error) {
      // Why it failed may be told a moment later.
      await Promise.race([this.gpu.lost, new Promise((done) => setTimeout(done, 100))]);
      this.check();
      throw new DeviceLostError(`The GPU device failed while reading back: ${(error as Error).message}`);
    }
    this.check();
    const mapped = staging.getMappedRange();
    at = 0;
    const results = parts.map(({ sizeBytes }) => mapped.slice(at, at += sizeBytes));
    staging.unmap();
    staging.destroy();
    return results;
  }

  /** Waits until all that was queued so far is done, about 12 ms longer than that takes. */
  async idle(): Promise<void> {
    this.check();
    await this.gpu.queue.onSubmittedWorkDone();
    this.check();
  }

  /** The layout of a bind group, by one letter a binding: `r` read, `w` read_write, `u` uniform. */
  layout(accesses: string): GPUBindGroupLayout {
    let layout = this.layouts.get(accesses);
    if (!layout) {
      layout = this.gpu.createBindGroupLayout({
        entries: [...accesses].map((access, binding) => ({
          binding,
          visibility: GPUShaderStage.COMPUTE,
          buffer: { type: access === "r" ? "read-only-storage" : access === "w" ? "storage" : "uniform" },
        })),
      });
      this.layouts.set(accesses, layout);
    }
    return layout;
  }

  /**
   * The compiled kernel; each distinct WGSL is compiled once a device.
   *
   * @throws {SyntaxError} If the WGSL is wrong, with the compiler's message and the line.
   */
  async pipeline(label: string, kernel: Kernel, accesses: string): Promise<GPUComputePipeline> {
    const key = `${accesses}\n${kernel.wgsl}`;
    const known = this.pipelines.get(key);
    if (known) return known;
    this.gpu.pushErrorScope("validation");
    const module = this.gpu.createShaderModule({ label, code: kernel.wgsl });
    const pipeline = this.gpu.createComputePipeline({
      label,
      layout: this.gpu.createPipelineLayout({ bindGroupLayouts: [this.layout(accesses)] }),
      compute: { module, entryPoint: "main" },
    });
    const error = await this.gpu.popErrorScope();
    if (error) {
      const { messages } = await module.getCompilationInfo();
      const lines = messages.map(({ lineNum, message }) =>
        `line ${lineNum}: ${kernel.wgsl.split("\n")[lineNum - 1] ?? ""}\n${message}`
      );
      throw new SyntaxError(`Cannot compile ${label}: ${lines.join("\n") || error.message}\n${kernel.wgsl}`);
    }
    this.pipelines.set(key, pipeline);
    return pipeline;
  }
}
