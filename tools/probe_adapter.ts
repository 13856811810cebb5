// Prints what WebGPU's adapter is, as one line of JSON, or null. A process of its own, since a process that has asked once keeps
// the drivers it found, and since the backend is chosen by the environment at the start.
const adapter = await navigator.gpu?.requestAdapter();
const info = adapter?.info;
console.log(JSON.stringify(
  info === undefined
    ? null
    : { description: info.description || info.device, isFallbackAdapter: info.isFallbackAdapter },
));
