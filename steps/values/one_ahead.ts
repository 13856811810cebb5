/**
 * Makes things one after another, each while the one before it is used.
 *
 * An error is thrown when the turn of what could not be made has come. When no more are wanted, what is being made is waited for.
 */
export async function* oneAhead<T>(makers: Iterable<() => Promise<T>>): AsyncGenerator<T, void, void> {
  const rest = makers[Symbol.iterator]();
  const begin = (): Promise<T> | null => {
    const { done, value: make } = rest.next();
    if (done) return null;
    const made = make();
    // Told when it is awaited, not before.
    made.catch(() => {});
    return made;
  };
  let next = begin();
  try {
    while (next) {
      const ready = await next;
      next = begin();
      yield ready;
    }
  } finally {
    await next?.catch(() => {});
  }
}
