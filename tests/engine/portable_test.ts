import { deepEqual, ok } from "node:assert/strict";
import { kernelTexts, samplePrograms } from "./kernel_texts.ts";
import { cardTarget } from "./targets.ts";

// What Mesa's CPU driver lets pass, or does better than WGSL promises. `deno task test:drivers` asks other drivers themselves.
const programs = [...(await samplePrograms()).values()].flat();
const cards = [{ f16: false }, { f16: true }, { f16: true, f16Arithmetic: true }];
const texts = cards.flatMap((card) => kernelTexts(programs, { ...cardTarget, ...card }));

/** Labels of the kernels in which something is found, with what. */
function found(find: (wgsl: string) => string | undefined): string[] {
  return texts.flatMap(({ label, wgsl }) => {
    const what = find(wgsl);
    return what === undefined ? [] : [`${label}: ${what}`];
  });
}

Deno.test("a GPU's kernels store no single component of a vector in workgroup memory", () => {
  // WGSL lets such a store write the whole vector, as Metal and Direct3D do: invocations would undo each other's.
  ok(texts.some(({ wgsl }) => wgsl.includes("var<workgroup> tile: array<vec4f")));
  deepEqual(
    found((wgsl) =>
      [...wgsl.matchAll(/^var<workgroup> (\w+): array<vec/gm)]
        .map(([, name]) => new RegExp(`^ *${name}\\[.*\\](\\[.*\\]|\\.[xyzw]) .?= .*$`, "m").exec(wgsl)?.[0])
        .find((line) => line)
    ),
    [],
  );
});

Deno.test("a GPU's kernels call no sine or cosine of WGSL's, which may be off by 0.0005", () => {
  deepEqual(found((wgsl) => /\b(sin|cos|tan|sincos)\(.*/.exec(wgsl)?.[0]), []);
});

Deno.test("comparisons that a GPU's kernels join bit by bit stand in brackets, as WGSL's grammar has them", () => {
  deepEqual(found((wgsl) => / ([<>]|[<>=!]=) [\w.]+(\([^()]*\))? [&|] \w.*/.exec(wgsl)?.[0]), []);
});

Deno.test("invocations of a GPU's workgroup read a buffer before others of it change that", () => {
  // `workgroupBarrier` orders workgroup memory alone. Kernels without it have nothing in common between invocations.
  const changing = texts.filter(({ wgsl }) =>
    wgsl.includes("workgroupBarrier") &&
    [...wgsl.matchAll(/var<storage, read_write> (\w+):/g)].some(([, name]) =>
      new RegExp(`[=(+*,] *${name}\\[`).test(wgsl)
    )
  );
  ok(changing.length > 0);
  deepEqual(changing.flatMap(({ label, wgsl }) => wgsl.includes("storageBarrier();") ? [] : [label]), []);
});

Deno.test("a GPU's kernels keep to WebGPU's default limits: 8 storage buffers, 256 invocations, 16 KiB of workgroup memory", () => {
  deepEqual(
    texts.flatMap(({ label, wgsl, accesses }) => {
      const invocations = Number(/@workgroup_size\((\d+)\)/.exec(wgsl)![1]), bytes = workgroupBytes(wgsl);
      return accesses.length > 8 || invocations > 256 || bytes > 16384
        ? [`${label}: ${accesses.length} buffers, ${invocations} invocations, ${bytes} bytes`]
        : [];
    }),
    [],
  );
});

/** Bytes of a kernel's workgroup memory. */
function workgroupBytes(wgsl: string): number {
  const widths: Readonly<Record<string, number>> = { f32: 4, vec2f: 8, vec4f: 16, "vec4<f16>": 8 };
  return [...wgsl.matchAll(/^var<workgroup> \w+: array<(.*), (\d+)>;/gm)].reduce((sum, [, type, count]) => {
    const width = widths[type.replace("<f32>", "f")];
    ok(width !== undefined, `workgroup memory of ${type}`);
    return sum + width * Number(count);
  }, 0);
}
