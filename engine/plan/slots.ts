/** What a slot must hold, and from which step to which (both included). */
export interface Tenant {
  readonly sizeBytes: number;
  readonly first: number;
  readonly last: number;
}

/**
 * Gives every tenant a slot so that no two tenants of a slot live at the same step.
 *
 * Largest first, each into the fullest-fitting slot whose tenants it does not meet ("greedy by size" of Pisarchyk and Lee 2020,
 * https://arxiv.org/abs/2001.03288): slots never grow, so the first tenant of a slot sets its size.
 */
export function assignSlots<T extends Tenant>(tenants: readonly T[]): { slots: number[]; slotOf: Map<T, number> } {
  const slots: { sizeBytes: number; tenants: Tenant[] }[] = [];
  const slotOf = new Map<T, number>();
  const order = tenants.map((tenant, index) => ({ tenant, index }))
    .sort((a, b) => b.tenant.sizeBytes - a.tenant.sizeBytes || a.index - b.index);
  for (const { tenant } of order) {
    let best = -1;
    for (const [index, slot] of slots.entries()) {
      if (best >= 0 && slot.sizeBytes >= slots[best].sizeBytes) continue;
      if (slot.tenants.every((other) => tenant.first > other.last || tenant.last < other.first)) best = index;
    }
    if (best < 0) {
      best = slots.length;
      slots.push({ sizeBytes: tenant.sizeBytes, tenants: [] });
    }
    slots[best].tenants.push(tenant);
    slotOf.set(tenant, best);
  }
  return { slots: slots.map((slot) => slot.sizeBytes), slotOf };
}

/** The slots' numbers, those of the largest first. */
export function largestFirst(slots: readonly number[]): number[] {
  return [...slots.keys()].sort((a, b) => slots[b] - slots[a] || a - b);
}

/** Bytes of the buffers that serve the slots of several programs which take turns: of the largest of each, of the second largest, and so on. */
export function pooledSlots(programs: readonly { readonly slots: readonly number[] }[]): number[] {
  const pooled: number[] = [];
  for (const { slots } of programs) {
    for (const [rank, slot] of largestFirst(slots).entries()) pooled[rank] = Math.max(pooled[rank] ?? 0, slots[slot]);
  }
  return pooled;
}
