/** What a kernel may count on: the facts of an adapter that choose between kernel variants. Plain data, so that plans need no GPU. */
export interface KernelTarget {
  /** The adapter is a CPU (Mesa's lavapipe): no workgroup memory, no barriers, subgroup broadcasts instead. */
  readonly cpu: boolean;
  /** Invocations of a subgroup, when it is fixed and subgroup operations work; 0 otherwise. */
  readonly subgroupSize: number;
  /** The adapter has shader-f16: storage buffers may hold f16. */
  readonly f16: boolean;
  /** Most invocations of one workgroup. */
  readonly maxInvocations: number;
  /** Most bytes of workgroup memory. */
  readonly maxWorkgroupStorageBytes: number;
  /** Most workgroups along one axis of a dispatch. */
  readonly maxWorkgroupsPerDimension: number;
  /** Most buffers that one dispatch can bind, uniforms apart. */
  readonly maxStorageBuffers: number;
}

/**
 * One dispatch: WGSL with an entry point `main`, and how many workgroups run it.
 *
 * Bindings are in group 0, in this order: the op's inputs that are present, then its outputs, then the sizes if there are any. The WGSL's text is
 * the key under which the compiled pipeline is cached: sizes that differ from layer to layer belong into `sizes`, or every layer is compiled anew.
 */
export interface Kernel {
  readonly wgsl: string;
  readonly workgroups: readonly [number, number, number];
  /** u32 values behind `var<uniform> sizes: array<vec4u, n>`; rounded up to whole vectors with zeros. */
  readonly sizes?: readonly number[];
}
