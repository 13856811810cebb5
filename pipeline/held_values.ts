/** Values that can say when they are no longer needed. */
interface Releasable {
  release?: () => unknown;
  [Symbol.asyncDispose]?: () => unknown;
  [Symbol.dispose]?: () => unknown;
}

/** A value's place: the step that gave it, and its name. */
export interface Slot {
  readonly index: number;
  readonly name: string;
}

/** Values of a run that are in memory now. */
export class HeldValues {
  readonly #values = new Map<string, { slot: Slot; value: unknown }>();

  has(slot: Slot): boolean {
    return this.#values.has(key(slot));
  }

  get(slot: Slot): unknown {
    return this.#values.get(key(slot))?.value;
  }

  /** Holds a value; another one in its place is released. */
  async set(slot: Slot, value: unknown): Promise<void> {
    const before = this.get(slot);
    this.#values.set(key(slot), { slot, value });
    if (!this.#holds(before)) await releaseValue(before);
  }

  /** Lets go of a value without releasing it: someone else does that now. */
  handOver(slot: Slot): void {
    this.#values.delete(key(slot));
  }

  /**
   * Lets go of values and releases them: `[Symbol.asyncDispose]`, `[Symbol.dispose]` or `release()`, whichever is first.
   * One that is also held in another place is released only there.
   *
   * @returns What went wrong, by slot; all the others have been released nevertheless.
   */
  async release(isOver: (slot: Slot) => boolean): Promise<{ slot: Slot; error: unknown }[]> {
    const failed: { slot: Slot; error: unknown }[] = [];
    for (const { slot, value } of [...this.#values.values()].reverse()) {
      if (!isOver(slot)) continue;
      this.#values.delete(key(slot));
      if (this.#holds(value)) continue;
      try {
        await releaseValue(value);
      } catch (error) {
        failed.push({ slot, error });
      }
    }
    return failed;
  }

  #holds(value: unknown): boolean {
    return [...this.#values.values()].some((held) => held.value === value);
  }
}

async function releaseValue(value: unknown): Promise<void> {
  if (typeof value !== "object" || value === null) return;
  const releasable = value as Releasable;
  if (releasable[Symbol.asyncDispose]) await releasable[Symbol.asyncDispose]?.();
  else if (releasable[Symbol.dispose]) releasable[Symbol.dispose]?.();
  else if (typeof releasable.release === "function") await releasable.release();
}

function key({ index, name }: Slot): string {
  return `${index} ${name}`;
}
