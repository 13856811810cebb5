/// <reference lib="deno.worker" />
/**
 * A worker that watches the process's memory while the main thread is busy: sent a shared `BigInt64Array` of the bytes that do not count
 * and of the peak, it raises the peak, looking every millisecond, until it is terminated.
 *
 * @module
 */
self.onmessage = ({ data }: MessageEvent<BigInt64Array>) => {
  setInterval(() => {
    const bytes = BigInt(Deno.memoryUsage().rss) - Atomics.load(data, 0);
    if (bytes > Atomics.load(data, 1)) Atomics.store(data, 1, bytes);
  }, 1);
  self.postMessage("watching");
};
