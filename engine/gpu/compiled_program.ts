import type { KernelTarget } from "../graph/kernel.ts";
import { bindingAlignmentBytes } from "../graph/tensor.ts";
import { elementCount } from "../graph/types.ts";
import type { Location, Port, Program } from "../plan/plan.ts";
import { type Device, type HostArray, hostArray, uploadBytes } from "./device.ts";
import { type BoundLocation, dispatchesOf } from "./dispatches.ts";
import { activeProfiler } from "./profiler.ts";
import { SlotPool } from "./slot_pool.ts";

/** What a run encodes. */
type Command =
  | {
    readonly kind: "dispatch";
    /** Places of the program's steps that it does. */
    readonly steps: readonly number[];
    readonly label: string;
    readonly pipeline: GPUComputePipeline;
    readonly accesses: string;
    readonly bindings: readonly BoundLocation[];
    readonly sizes: { readonly offset: number; readonly size: number } | null;
    readonly workgroups: readonly [number, number, number];
  }
  | { readonly kind: "clear"; readonly location: Location };

/** A program with its buffers and pipelines on a device, ready to be replayed. */
export class CompiledProgram {
  private readonly commands: Command[] = [];
  private bindGroups: (GPUBindGroup | null)[] = [];
  private slots: GPUBuffer[] = [];
  private scratch: GPUBuffer | null = null;
  private version = -1;
  private sizes: GPUBuffer | null = null;
  private destroyed = false;

  private constructor(
    private readonly device: Device,
    readonly program: Program,
    private readonly pool: SlotPool,
    private readonly ownsPool: boolean,
  ) {}

  /** Called by `Device.compile`. */
  static async make(
    device: Device,
    program: Program,
    pool: SlotPool | null,
    target: KernelTarget,
  ): Promise<CompiledProgram> {
    const compiled = new CompiledProgram(device, program, pool ?? new SlotPool(device), pool === null);
    try {
      const dispatches = dispatchesOf(program, target);
      const sizes = new SizesBuffer(dispatches.map((each) => "kernel" in each ? each.kernel.sizes : undefined));
      if (sizes.sizeBytes > 0) compiled.sizes = sizes.upload(device);
      for (const each of dispatches) {
        if (!("kernel" in each)) {
          compiled.commands.push({ kind: "clear", location: each.clears });
          continue;
        }
        const { steps, label, kernel, bindings } = each;
        const accesses = bindings.map((binding) => binding.access === "read" ? "r" : "w").join("") +
          (kernel.sizes ? "u" : "");
        compiled.commands.push({
          kind: "dispatch",
          steps,
          label,
          pipeline: await device.pipeline(label, kernel, accesses),
          accesses,
          bindings,
          sizes: kernel.sizes ? sizes.place(kernel.sizes) : null,
          workgroups: kernel.workgroups,
        });
      }
      compiled.bind();
    } catch (error) {
      compiled.destroyBuffers();
      throw error;
    }
    return compiled;
  }

  /** Bytes of the uniforms that a CPU adapter's kernels read their sizes from (0 on a GPU): what the program takes beside its slots and variables. */
  get sizesBytes(): number {
    return this.sizes?.size ?? 0;
  }

  /** Bytes that kernels of two dispatches need of the scratch buffer of the program's pool: what the program takes beside its slots and variables. */
  get scratchBytes(): number {
    const ends = this.commands.flatMap((command) => command.kind === "dispatch" ? command.bindings : []).map(
      ({ buffer, offsetBytes, sizeBytes }) => buffer.kind === "scratch" ? offsetBytes + sizeBytes : 0,
    );
    return ends.reduce((most, end) => Math.max(most, end), 0);
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
    const profiler = activeProfiler(), started = performance.now();
    this.bind();
    const { gpu } = this.device;
    for (const name of Object.keys(feeds)) {
      if (!this.program.inputs.has(name)) {
        throw new TypeError(
          `Cannot run: ${name} is no input; inputs are ${[...this.program.inputs.keys()].join(", ")}`,
        );
      }
    }
    const uploads = [...this.program.inputs].map(([name, { type, location }]) => {
      if (!(name in feeds)) throw new TypeError(`Cannot run: input ${name} is missing`);
      return { location, bytes: uploadBytes(name, type, feeds[name]) };
    });
    // From here on the pool's buffers hold what this run makes of them; what is refused above leaves another program's outputs as they are.
    this.pool.claim(this);
    for (const { location, bytes } of uploads) {
      gpu.queue.writeBuffer(this.bufferOf(location), location.offsetBytes, bytes);
    }
    const encoder = gpu.createCommandEncoder();
    const clock = profiler?.begin(gpu, this.program, this.dispatches) ?? null;
    let pass: GPUComputePassEncoder | null = null, last: GPUComputePipeline | null = null, dispatch = 0;
    for (const [index, command] of this.commands.entries()) {
      if (command.kind === "clear") {
        pass?.end();
        pass = last = null;
        const { offsetBytes, sizeBytes } = command.location;
        encoder.clearBuffer(this.bufferOf(command.location), offsetBytes, sizeBytes);
        continue;
      }
      const { pipeline, workgroups } = command;
      if (clock) {
        pass?.end();
        pass = encoder.beginComputePass({ timestampWrites: clock.writes(dispatch++) });
        last = null;
      }
      pass ??= encoder.beginComputePass();
      if (pipeline !== last) pass.setPipeline(last = pipeline);
      pass.setBindGroup(0, this.bindGroups[index]!);
      pass.dispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2]);
    }
    pass?.end();
    clock?.resolve(encoder);
    for (const recorder of options.record ?? []) recorder.encode(encoder, this.bufferOf(recorder.port.location));
    const commands = encoder.finish();
    // Without the submission: where drivers run one at a time it waits for the run before.
    if (!clock) profiler?.addHostTime(this.program, performance.now() - started);
    gpu.queue.submit([commands]);
  }

  /**
   * Queues some of the program's dispatches, in one pass: for timing them. What the slots and the variables that they change hold afterwards means
   * nothing.
   *
   * @param dispatches Places in `dispatches`, as often as each is to run.
   * @throws {RangeError} If one of them is none.
   */
  replay(dispatches: readonly number[]): void {
    if (this.destroyed) throw new Error("Cannot replay: the program was released");
    this.device.check();
    this.bind();
    this.pool.claim(this);
    const all = this.commands.flatMap((command, place) => command.kind === "dispatch" ? [{ command, place }] : []);
    const encoder = this.device.gpu.createCommandEncoder(), pass = encoder.beginComputePass();
    for (const dispatch of dispatches) {
      if (!all[dispatch]) {
        throw new RangeError(`Cannot replay: there is no dispatch ${dispatch}, there are ${all.length}`);
      }
      const { command, place } = all[dispatch];
      pass.setPipeline(command.pipeline);
      pass.setBindGroup(0, this.bindGroups[place]!);
      pass.dispatchWorkgroups(...command.workgroups);
    }
    pass.end();
    this.device.gpu.queue.submit([encoder.finish()]);
  }

  /** Of each dispatch, in order, the places of the program's steps that it does; both dispatches of a kernel that has two. */
  get dispatches(): (readonly number[])[] {
    return this.commands.flatMap((command) => command.kind === "dispatch" ? [command.steps] : []);
  }

  /**
   * Reads outputs back, after all runs queued so far.
   *
   * @throws {Error} If the program has not run, or another of its pool has since, or was compiled and needed larger buffers.
   */
  async read(...names: string[]): Promise<Record<string, HostArray>> {
    if (this.destroyed) throw new Error(`Cannot read ${names.join(", ")}: the program was released`);
    const ports = names.map((name) => this.output(name));
    if (!this.pool.isHeldBy(this)) {
      throw new Error(
        `Cannot read ${
          names.join(", ")
        }: the program has not run, or another of its pool has since, or was compiled and ` +
          "needed larger buffers. Run it again, or read before that",
      );
    }
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
    if (this.ownsPool) this.pool.dispose();
    if (this.sizes) this.device.destroyBuffer(this.sizes);
    this.sizes = null;
  }

  /** Makes bind groups, if there are none or the pool has replaced buffers since. */
  private bind(): void {
    if (this.version === this.pool.version) return;
    this.slots = this.pool.place(this.program.slots);
    this.scratch = this.pool.scratch(this.scratchBytes);
    this.version = this.pool.version;
    this.bindGroups = this.commands.map((command) => {
      if (command.kind === "clear") return null;
      const { label, accesses, bindings, sizes } = command;
      const resources: GPUBufferBinding[] = bindings.map((location) => ({
        buffer: this.bufferOf(location),
        offset: location.offsetBytes,
        size: location.sizeBytes,
      }));
      if (sizes) resources.push({ buffer: this.sizes!, ...sizes });
      return this.device.gpu.createBindGroup({
        label,
        layout: this.device.layout(accesses),
        entries: resources.map((resource, binding) => ({ binding, resource })),
      });
    });
  }

  private output(name: string): Port {
    const port = this.program.outputs.get(name);
    if (!port) {
      throw new TypeError(`Cannot read ${name}: outputs are ${[...this.program.outputs.keys()].join(", ") || "none"}`);
    }
    return port;
  }

  private bufferOf({ buffer }: BoundLocation): GPUBuffer {
    if (buffer.kind === "scratch") return this.scratch!;
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
