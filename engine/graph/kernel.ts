/** What a kernel may count on: the facts of an adapter that choose between kernel variants. Plain data, so that plans need no GPU. */
export interface KernelTarget {
  /** The adapter is a CPU (Mesa's lavapipe): no workgroup memory, no barriers, subgroup broadcasts instead. */
  readonly cpu: boolean;
  /** Invocations of a subgroup, when it is fixed and subgroup operations work; 0 otherwise. */
  readonly subgroupSize: number;
  /** The adapter has shader-f16: storage buffers may hold f16. */
  readonly f16: boolean;
  /** Products whose operands and result are stored in f16 are multiplied in f16, two at a time, as the device was asked for; false when left out. Not on CPUs. */
  readonly f16Arithmetic?: boolean;
  /** The tile of all matrix products, to hold tiles against one another; each has its own when left out. Not on CPUs. */
  readonly tile?: WorkgroupTileShape;
  /** Most invocations of one workgroup. */
  readonly maxInvocations: number;
  /** Most bytes of workgroup memory. */
  readonly maxWorkgroupStorageBytes: number;
  /** Most workgroups along one axis of a dispatch. */
  readonly maxWorkgroupsPerDimension: number;
  /** Most buffers that one dispatch can bind, uniforms apart. */
  readonly maxStorageBuffers: number;
}

/** Sizes of a workgroup's tile of a matrix product. */
export interface WorkgroupTileShape {
  readonly rows: number;
  readonly columns: number;
  /** Steps of the sum that are held in workgroup memory at a time; a multiple of 4. */
  readonly depth: number;
  /** Parts of the sum that groups of invocations do at the same time, added in a fixed order. */
  readonly splits: number;
  /** Parts of the sum that workgroups of their own do, each of them so split; 1 when left out. A second dispatch adds them. */
  readonly parts?: number;
  /** Rows that one invocation sums; 4 when left out. */
  readonly rowsEach?: 4 | 8;
}

/** Most bytes of scratch memory that the steps of one dispatch may take together. A GPU holds one such buffer for all programs of a pool, beside what their plans say. */
export const mostScratchBytes = 2 ** 24;

/**
 * One dispatch, or two: WGSL with an entry point `main`, and how many workgroups run it.
 *
 * Bindings are in group 0, in this order: the op's inputs that are present, then its outputs, then the sizes if there are any. The WGSL's text is
 * the key under which the compiled pipeline is cached: sizes that differ from layer to layer belong into `sizes`, or every layer is compiled anew.
 */
export interface Kernel {
  readonly wgsl: string;
  readonly workgroups: readonly [number, number, number];
  /** u32 values behind `var<uniform> sizes: array<vec4u, n>`; rounded up to whole vectors with zeros. */
  readonly sizes?: readonly number[];
  /** A second dispatch, which makes the results of what this one leaves in scratch memory. */
  readonly finish?: FinishingKernel;
}

/**
 * The second of a kernel's two dispatches. A long sum for few results keeps few workgroups busy: many can sum parts of it, and lay them down in scratch memory for this
 * dispatch to add, in a fixed order. In one dispatch no workgroup knows when the others are done: WGSL has no fence between them.
 *
 * Dispatches of two kernels never run at the same time, so all of a program's share one scratch buffer. Whether a kernel has a second dispatch must not depend on what runs
 * beside it: results have the same bits alone and side by side.
 */
export interface FinishingKernel {
  readonly wgsl: string;
  readonly workgroups: readonly [number, number, number];
  /** Bytes of scratch memory, a multiple of 16 and at most `mostScratchBytes`. What they hold at first means nothing. */
  readonly scratchBytes: number;
  /** What the first dispatch binds, in its order: places among the op's bindings. The scratch memory comes behind them, as read_write. */
  readonly firstBinds: readonly number[];
  /** What the second binds, behind the scratch memory, which it reads. */
  readonly binds: readonly number[];
}
