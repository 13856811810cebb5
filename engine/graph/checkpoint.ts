/** One part of the graph that gradient checkpointing computes again: an identity, nothing else. */
export type Checkpoint = symbol;

let current: Checkpoint | null = null;

/**
 * Runs `body`; what it traces is one part for gradient checkpointing, such as a residual block. Parts inside of it are parts of it.
 *
 * Marking changes nothing by itself: see the option `checkpointing` of `gradients`.
 *
 * @see Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", https://arxiv.org/abs/1604.06174
 */
export function checkpointed<T>(body: () => T): T {
  if (current) return body();
  current = Symbol("checkpoint");
  try {
    return body();
  } finally {
    current = null;
  }
}

/** The part that a node made now belongs to. */
export function currentCheckpoint(): Checkpoint | null {
  return current;
}
