import { largestFirst } from "../plan/slots.ts";
import type { Device } from "./device.ts";

/**
 * Buffers for the slots of programs that never run at the same time: a full batch's step and the shorter last one's, or the stages of a sampler.
 *
 * Each program's largest slot lies in the pool's largest buffer, and so on, so the pool takes what `pooledBytes` says, not what the programs take
 * together. What a run left in its outputs is there until another program of the pool runs, or is compiled
 * and needs larger buffers.
 */
export class SlotPool {
  /** Largest first. */
  private readonly buffers: GPUBuffer[] = [];
  private scratchBuffer: GPUBuffer | null = null;
  private changes = 0;
  private holder: object | null = null;

  constructor(private readonly device: Device) {}

  /** Counts up when a buffer was replaced by a larger one: bind groups made before are of no use then. */
  get version(): number {
    return this.changes;
  }

  /** The buffer of each slot, made or made larger where one is not there or too small. */
  place(slots: readonly number[]): GPUBuffer[] {
    const placed: GPUBuffer[] = [];
    for (const [rank, slot] of largestFirst(slots).entries()) {
      const known = this.buffers[rank];
      if (known === undefined || known.size < slots[slot]) {
        if (known) {
          this.device.destroyBuffer(known);
          this.changes++;
          this.holder = null;
        }
        this.buffers[rank] = this.device.makeBuffer(`slot ${rank}`, slots[slot]);
      }
      placed[slot] = this.buffers[rank];
    }
    return placed;
  }

  /** The buffer for what a kernel's first dispatch leaves to its second, made or made larger where it is too small; null where nothing is wanted. */
  scratch(sizeBytes: number): GPUBuffer | null {
    if (sizeBytes > (this.scratchBuffer?.size ?? 0)) {
      if (this.scratchBuffer) {
        this.device.destroyBuffer(this.scratchBuffer);
        this.changes++;
      }
      this.scratchBuffer = this.device.makeBuffer("scratch", sizeBytes);
    }
    return this.scratchBuffer;
  }

  /** Notes who runs. */
  claim(program: object): void {
    this.holder = program;
  }

  /** Whether the buffers hold what this program's last run left. */
  isHeldBy(program: object): boolean {
    return this.holder === program;
  }

  /** Frees the buffers; no program of the pool may run after that. */
  dispose(): void {
    for (const buffer of this.buffers.splice(0)) this.device.destroyBuffer(buffer);
    if (this.scratchBuffer) this.device.destroyBuffer(this.scratchBuffer);
    this.scratchBuffer = null;
    this.changes++;
  }
}
